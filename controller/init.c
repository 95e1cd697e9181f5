#include "controller/init.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/api_key.h"

/* of the unit files */
#define SERVICE_USER "caravan-controller"
#define AGENT_USER   "caravan"

static int complain(const char *dir, const char *what, int r)
{
    fprintf(stderr, "caravan-controller: %s%s: %s\n", dir, what, strerror(-r));
    return -1;
}

/* *ret_made may be NULL. */
static int make_dir(const char *dir, bool *ret_made)
{
    bool made = mkdir(dir, 0700) == 0;

    if (ret_made)
        *ret_made = made;
    if (made || errno == EEXIST)
        return 0;
    fprintf(stderr, "caravan-controller: state_dir %s cannot be made: %s\n", dir, strerror(errno));
    return -1;
}

int init_make_dir(const char *dir)
{
    return make_dir(dir, NULL);
}

int init_load_identity(const char *dir, struct identity *ret)
{
    int r = crypto_identity_load(dir, ret);

    if (r == CRYPTO_E_BAD_KEY_FILE)
        fprintf(
            stderr,
            "caravan-controller: %s/identity is damaged, another user's, or readable by others: mend or move it away\n",
            dir);
    else if (r < 0)
        complain(dir, "/identity cannot be used", r);
    return r ? -1 : 0;
}

/* ---- init ---- */

static int become(const struct passwd *user)
{
    return initgroups(user->pw_name, user->pw_gid) < 0 || setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0 ? -errno
                                                                                                               : 0;
}

/* Becoming that user, and not chown of what root has made, follows no link that this user may have put there. */
static int work_as_service(const char *dir, bool made)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam(SERVICE_USER) : NULL;
    struct stat st;
    int r;

    if (!user)
        return 0;
    if (made && lchown(dir, user->pw_uid, user->pw_gid) < 0)
        return complain(dir, " cannot be given to the user " SERVICE_USER, -errno);
    if (stat(dir, &st) < 0)
        return complain(dir, " cannot be looked at", -errno);
    if (st.st_uid != user->pw_uid)
        return 0;
    r = become(user);
    return r < 0 ? complain(dir, ": no work as the user " SERVICE_USER, r) : 0;
}

/* 0: made, 1: it was there; -1. */
static int make_admin_key(const char *dir)
{
    char text[API_KEY_TEXT], why[2 * PROTO_PATH_MAX];
    int made = api_key_make_file(dir), r;

    if (made < 0)
        return complain(dir, "/" API_KEY_FILE " cannot be made", made);
    r = api_key_read_file(dir, text, why, sizeof(why)); /* proves what lies on the disk, too */
    explicit_bzero(text, sizeof(text));
    if (r < 0)
        return complain(dir, "/" API_KEY_FILE " cannot be read", r);
    if (r)
        fprintf(stderr, "caravan-controller: %s\n", r == API_KEY_E_NONE ? API_KEY_FILE " is gone again" : why);
    return r ? -1 : made == API_KEY_E_EXISTS;
}

static void say_next(const char *dir, const char *key, bool was_there)
{
    printf("Controller key: %s\n"
           "Admin key:      %s/" API_KEY_FILE " (%s); `caravan` reads it there\n"
           "\n"
           "Next, on this machine:\n"
           "  systemctl enable --now caravan-controller\n"
           "  caravan token create --uses 3      # one string that lets in three machines, within an hour\n"
           "On each machine that shall take part, this one too: paste that string and end it with Ctrl-D,\n"
           "  install -o " AGENT_USER " -m 600 /dev/stdin /etc/caravan/join.token\n"
           "have the line  join = @/etc/caravan/join.token  in /etc/caravan/agent.conf, then\n"
           "  systemctl enable --now caravan-agent\n",
           key, dir, was_there ? "was there already" : "made");
}

int init_run(const char *dir)
{
    char key[CRYPTO_KEY_HEX];
    struct identity id;
    bool made = false;
    int was_there;

    if (make_dir(dir, &made) < 0 || work_as_service(dir, made) < 0 || init_load_identity(dir, &id) < 0)
        return EXIT_FAILURE;
    crypto_key_format(id.public_key, key);
    crypto_identity_clear(&id);
    was_there = make_admin_key(dir);
    if (was_there < 0)
        return EXIT_FAILURE;
    say_next(dir, key, was_there);
    return EXIT_SUCCESS;
}

#include "tests/sim/shrink.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/cells.h"
#include "tests/sim/world.h"

static void play_here(const struct scenario *s, FILE *story, struct verdict_of_run *ret)
{
    static struct stats stats;
    static struct world world;

    cells_count_in(&stats);
    world_play(&world, s, &stats, story);
    ret->hash = stats.hash;
    ret->broken = world.failed;
    memcpy(ret->failure, world.failure, sizeof(ret->failure));
}

struct verdict_of_run shrink_play(const struct scenario *s, FILE *story)
{
    struct verdict_of_run *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct verdict_of_run ret;
    int status = 0;
    pid_t pid;

    assert(shared != MAP_FAILED);
    fflush(NULL);
    pid = fork();
    assert(pid >= 0);
    if (!pid) {
        if (!story && !freopen("/dev/null", "w", stderr)) /* an assertion would be told once per try */
            _exit(2);
        if (story)
            setvbuf(story, NULL, _IOLBF, 0); /* so that nothing is lost where it ends badly */
        play_here(s, story, shared);
        fflush(NULL);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    ret = *shared;
    munmap(shared, sizeof(*shared));
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        ret.broken = ret.crashed = true;
        strcpy(ret.failure, "the program ended: an assertion, or worse");
    }
    return ret;
}

/* Without numbers and the names of models, which differ between two tellings of the same trouble. */
static void kind_of(const char *failure, char *ret)
{
    static const char *const names[] = {"small", "middle", "large", "red", "green", "blue"};

    while (*failure) {
        size_t skip = strspn(failure, "0123456789abcdef") > 7 ? strspn(failure, "0123456789abcdef")
                                                              : strspn(failure, "0123456789");

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !skip; i++)
            skip = strncmp(failure, names[i], strlen(names[i])) == 0 ? strlen(names[i]) : 0;
        failure += skip;
        if (!skip)
            *ret++ = *failure++;
    }
    *ret = '\0';
}

static bool same(const struct verdict_of_run *a, const struct verdict_of_run *b)
{
    char kind_a[sizeof(a->failure)], kind_b[sizeof(b->failure)];

    kind_of(a->failure, kind_a);
    kind_of(b->failure, kind_b);
    return a->broken && b->broken && strcmp(kind_a, kind_b) == 0;
}

/* Leaves out runs of actions of that length where it stays broken. Returns how many plays it took. */
static unsigned drop_runs(struct scenario *s, const struct verdict_of_run *as, size_t length, unsigned tries)
{
    unsigned used = 0;

    for (size_t i = 0; i < s->n && used < tries; i += length) {
        struct scenario less = *s;
        struct verdict_of_run v;
        bool any = false;

        for (size_t k = i; k < i + length && k < s->n; k++) {
            any |= !less.action[k].dropped;
            less.action[k].dropped = true;
        }
        if (!any)
            continue;
        v = shrink_play(&less, NULL);
        used++;
        if (same(as, &v))
            *s = less;
    }
    return used;
}

static unsigned drop_hosts(struct scenario *s, const struct verdict_of_run *as)
{
    unsigned used = 0;

    for (size_t n = 1; n < s->n_hosts; n++) {
        struct scenario less = *s;
        struct verdict_of_run v;

        less.n_hosts = n;
        for (size_t k = 0; k < s->n; k++) {
            if ((size_t)less.action[k].host > n || (size_t)less.action[k].other > n)
                less.action[k].dropped = less.action[k].kind > ACTION_REQUESTS;
            if ((size_t)less.action[k].host > n)
                less.action[k].host = 1;
        }
        v = shrink_play(&less, NULL);
        used++;
        if (same(as, &v)) {
            *s = less;
            break;
        }
        if (used > 8)
            break;
    }
    return used;
}

void shrink(struct scenario *s, unsigned tries)
{
    struct verdict_of_run as = shrink_play(s, NULL);
    size_t length = s->n / 2;
    unsigned used = 0;

    while (as.broken && length && used < tries) {
        used += drop_runs(s, &as, length, tries - used);
        length /= 2;
    }
    if (as.broken && used < tries)
        used += drop_hosts(s, &as);
    if (as.broken && used < tries)
        drop_runs(s, &as, 1, tries - used);
}

#include "common/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/log.h"

enum { CERT, KEY, N_FILES };

/* Enough to see that a file is another one. */
struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
};

struct tls {
    SSL_CTX *ctx;
    char *path[N_FILES];         /* a server's */
    struct stamp stamp[N_FILES]; /* when they were read last, in vain or not */
    char why[256];
};

static void free_ctx(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

static void free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

/* The oldest thing that OpenSSL has to say, and nothing is left of the rest. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());

    ERR_clear_error();
    return text ? text : "it cannot be read";
}

/* ---- making it ---------------------------------------------------------------------------------------------------- */

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
    CLEANUP(free_ctx) SSL_CTX *ctx = SSL_CTX_new(method);
    SSL_CTX *whole;

    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION))
        return NULL;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS); /* an idle connection keeps none: they are 34 KiB */
    whole = ctx;
    ctx = NULL;
    return whole;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned int in_len, void *arg)
{
    static const unsigned char spoken[] = "\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, spoken, sizeof(spoken) - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A passphrase could only be asked of somebody who sits there. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    *(bool *)arg = true;
    return -1;
}

static int refuse_file(char *why, size_t why_size, const char *what, const char *path, const char *text)
{
    snprintf(why, why_size, "the %s %s cannot be used: %s", what, path, text);
    return TLS_E_FILE;
}

static int read_key(const char *path, EVP_PKEY **ret, char *why, size_t why_size)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool encrypted = false;
    struct stat st;
    FILE *file;

    if (fd < 0 || fstat(fd, &st) < 0)
        return refuse_file(why, why_size, "key", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & 027)) /* a group may read it: Debian's ssl-cert does */
        return refuse_file(why, why_size, "key", path, "it is open to others: chmod 600");
    file = fdopen(fd, "r");
    if (!file)
        return err_raise(-ENOMEM);
    fd = -1;
    *ret = PEM_read_PrivateKey(file, NULL, no_passphrase, &encrypted);
    fclose(file);
    if (*ret)
        return 0;
    return refuse_file(why, why_size, "key", path, encrypted ? "it has a passphrase: store it without" : reason());
}

static int read_files(char *const path[N_FILES], SSL_CTX **ret, char *why, size_t why_size)
{
    CLEANUP(free_ctx) SSL_CTX *ctx = NULL;
    CLEANUP(free_key) EVP_PKEY *key = NULL;
    int r;

    ERR_clear_error();
    r = read_key(path[KEY], &key, why, why_size);
    if (r)
        return r < 0 ? err_pass(r) : r;
    ctx = new_ctx(TLS_server_method());
    if (!ctx)
        return err_raise(-ENOMEM);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, path[CERT]) != 1)
        return refuse_file(why, why_size, "certificate", path[CERT], reason());
    if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        ERR_clear_error();
        snprintf(why, why_size, "the key %s is not that of the certificate %s", path[KEY], path[CERT]);
        return TLS_E_FILE;
    }
    *ret = ctx;
    ctx = NULL;
    return 0;
}

static struct stamp stamp_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return (struct stamp){.ino = 0};
    return (struct stamp){.dev = st.st_dev, .ino = st.st_ino, .size = st.st_size, .mtime = st.st_mtim};
}

static bool is_same(const struct stamp *a, const struct stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
           a->mtime.tv_nsec == b->mtime.tv_nsec;
}

int tls_server_new(const char *cert, const char *key, struct tls **ret, char *why, size_t why_size)
{
    CLEANUP(tls_destroy) struct tls *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return err_raise(-ENOMEM);
    t->path[CERT] = strdup(cert);
    t->path[KEY] = strdup(key);
    if (!t->path[CERT] || !t->path[KEY])
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < N_FILES; i++) /* before they are read: a change meanwhile is then seen later */
        t->stamp[i] = stamp_of(t->path[i]);
    r = read_files(t->path, &t->ctx, why, why_size);
    if (r)
        return r < 0 ? err_pass(r) : r;
    *ret = t;
    t = NULL;
    return 0;
}

int tls_client_new(const char *ca_file, struct tls **ret, char *why, size_t why_size)
{
    CLEANUP(tls_destroy) struct tls *t = calloc(1, sizeof(*t));
    int ok;

    if (!t)
        return err_raise(-ENOMEM);
    ERR_clear_error();
    t->ctx = new_ctx(TLS_client_method());
    if (!t->ctx || SSL_CTX_set_alpn_protos(t->ctx, (const unsigned char *)"\x08http/1.1", 9) != 0)
        return err_raise(-ENOMEM);
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    ok = ca_file ? SSL_CTX_load_verify_file(t->ctx, ca_file) : SSL_CTX_set_default_verify_paths(t->ctx);
    if (ok != 1)
        return refuse_file(why, why_size, "file of certificates", ca_file ? ca_file : "of the system", reason());
    *ret = t;
    t = NULL;
    return 0;
}

void tls_destroy(struct tls **t)
{
    if (!*t)
        return;
    SSL_CTX_free((*t)->ctx);
    for (size_t i = 0; i < N_FILES; i++)
        free((*t)->path[i]);
    free(*t);
    *t = NULL;
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

/* Reads the files again where they are others than last time. Certificates are renewed every few weeks, and nobody should
 * have to end a stream, or write a hook, for that. Looking costs two stat() per handshake. */
static void refresh(struct tls *t)
{
    struct stamp now[N_FILES];
    SSL_CTX *fresh = NULL;
    bool changed = false;
    char why[512];
    int r;

    for (size_t i = 0; i < N_FILES; i++) {
        now[i] = stamp_of(t->path[i]);
        changed = changed || !is_same(&now[i], &t->stamp[i]);
    }
    if (!changed)
        return;
    memcpy(t->stamp, now, sizeof(now));
    r = read_files(t->path, &fresh, why, sizeof(why));
    if (r) {
        log_warn("tls.reload", "effect=%s why=%s", LOG_STR("the certificate read before stays in use"),
                 LOG_STR(r < 0 ? "out of memory" : why));
        return;
    }
    SSL_CTX_free(t->ctx); /* connections hold it */
    t->ctx = fresh;
    log_info("tls.reload", "certificate=%s", LOG_STR(t->path[CERT]));
}

struct bufferevent *tls_accept(struct tls *t, struct event_base *base, int fd)
{
    struct bufferevent *bev;
    SSL *ssl;

    refresh(t);
    ssl = SSL_new(t->ctx);
    if (!ssl)
        return NULL;
    bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) /* ssl is gone as well */
        return NULL;
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1); /* requests say themselves where they end */
    return bev;
}

/* The certificate must be for it, and a name tells the other end which one is meant. */
static bool expect_host(SSL *ssl, const char *host)
{
    uint8_t address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static struct bufferevent *start_handshake(void *ctx, struct event_base *base, int fd, const char *host)
{
    struct tls *t = ctx;
    SSL *ssl = SSL_new(t->ctx);

    if (!ssl || !expect_host(ssl, host)) {
        SSL_free(ssl);
        return NULL;
    }
    /* Takes ssl even where it fails. A close without a word is an error: it may be somebody's cut. */
    return bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_CONNECTING,
                                          BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
}

void tls_say_end(struct bufferevent *bev)
{
    SSL *ssl = bufferevent_openssl_get_ssl(bev);

    if (!ssl || !SSL_is_init_finished(ssl))
        return;
    ERR_clear_error();
    SSL_shutdown(ssl);
    ERR_clear_error();
}

static int find_failure(void *ctx, struct bufferevent *bev)
{
    struct tls *t = ctx;
    int error = EVUTIL_SOCKET_ERROR();
    SSL *ssl = bufferevent_openssl_get_ssl(bev);
    long verdict = SSL_get_verify_result(ssl);
    unsigned long code = bufferevent_get_openssl_error(bev);
    const char *text = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    if (verdict != X509_V_OK) {
        snprintf(t->why, sizeof(t->why), "its certificate is not believed: %s", X509_verify_cert_error_string(verdict));
        return -EKEYREJECTED;
    }
    if (!code || SSL_is_init_finished(ssl)) {
        snprintf(t->why, sizeof(t->why), "the connection broke");
        return error ? -error : -ECONNRESET;
    }
    snprintf(t->why, sizeof(t->why), "no TLS connection came about: %s", text ? text : "unknown error");
    return -EPROTO;
}

struct httpc_secure tls_secure(struct tls *t)
{
    return (struct httpc_secure){.connect = start_handshake, .failure = find_failure, .ctx = t};
}

const char *tls_why(const struct tls *t)
{
    return t->why;
}

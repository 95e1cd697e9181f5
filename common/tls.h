/* The door to OpenSSL's TLS (its ciphers alone: common/seal.c): for the controller's HTTP and for the command line, on
 * libevent's bufferevents. TLS 1.2 and newer, HTTP/1.1 by ALPN. */
#ifndef CARAVAN_COMMON_TLS_H
#define CARAVAN_COMMON_TLS_H

#include <stddef.h>

#include "common/httpc.h"

struct bufferevent;
struct event_base;
struct tls;

enum { TLS_E_FILE = 1 /* why names the file */ };

/* A server's side. cert: PEM, its chain behind it; key: PEM, not encrypted, nobody else's to read. Both are read now, and
 * again when they have changed, see tls_accept. ret: owned. 0, TLS_E_FILE, -ENOMEM. */
int tls_server_new(const char *cert, const char *key, struct tls **ret, char *why, size_t why_size);
/* A client's side. ca_file: PEM, whose certificates alone are believed; NULL: those of the system. As tls_server_new. */
int tls_client_new(const char *ca_file, struct tls **ret, char *why, size_t why_size);
/* Connections that it made live on. */
void tls_destroy(struct tls **t);

/* fd: of an accepted connection; the result's, or still the caller's where that is NULL. The handshake goes on by itself;
 * BEV_EVENT_CONNECTED tells of its end. Files that have changed since are read first: what is wrong with them is logged
 * once, and what was read before stays in use. */
struct bufferevent *tls_accept(struct tls *t, struct event_base *base, int fd);
/* For httpc; t: a client's, borrowed. A certificate must be for the host asked, a name or an IP literal. Why a connection
 * broke: -EKEYREJECTED for a certificate that is not believed, -EPROTO for what is no TLS; tls_why says more. */
struct httpc_secure tls_secure(struct tls *t);

/* Tells the other end that no more will come; what is in the output buffer must be out. */
void tls_say_end(struct bufferevent *bev);
/* Of the last connection that broke; "" before. */
const char *tls_why(const struct tls *t);

#endif

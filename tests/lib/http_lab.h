/* Raw HTTP over loopback for tests, on the event loop of the server under test: nothing is timed and nothing sleeps, every
 * wait is for an event (and ends in a failure after 20 s). */
#ifndef CARAVAN_TESTS_LIB_HTTP_LAB_H
#define CARAVAN_TESTS_LIB_HTTP_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct bufferevent;

struct lab_client {
    struct event_base *base;
    struct bufferevent *bev;
    char *got; /* NUL-terminated */
    size_t n_got;
    bool closed;
    const char *until; /* what is waited for */
};

/* A listening socket on 127.0.0.1 and its port. */
int lab_listen(uint16_t *ret_port);
void lab_connect(struct lab_client *c, struct event_base *base, uint16_t port);
void lab_send(struct lab_client *c, const char *text);
void lab_send_bytes(struct lab_client *c, const void *buf, size_t n);
/* Runs the loop until the server has closed, or text was received. Fails the test where neither comes. */
void lab_until_closed(struct lab_client *c);
void lab_until(struct lab_client *c, const char *text);
/* Runs the loop until *flag is true. */
void lab_until_true(struct event_base *base, const bool *flag);
/* What follows the first empty line, dechunked where the head says so; malloc'ed. */
char *lab_body(const struct lab_client *c);
void lab_stop_reading(struct lab_client *c);
void lab_start_reading(struct lab_client *c);
void lab_close(struct lab_client *c);

/* One request, the connection closed by the server; the whole answer, malloc'ed. */
char *lab_ask(struct event_base *base, uint16_t port, const char *request);

#endif

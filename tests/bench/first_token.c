/* first_token --url http://HOST:PORT --model NAME [--poll-health] [--warm-up]
 *
 * Prints the time of day in microseconds at which the first token of a streamed completion arrived. With --poll-health it
 * first asks /health every 10 ms until 200; with --warm-up it first asks for one token, as the controller does. Plain
 * sockets and blocking calls: the baseline must not cost anything itself. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in server;
static char host[64];

static int dial(void)
{
    const struct timeval limit = {.tv_sec = 120};
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&server, sizeof(server)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends one request and reads until `until` was seen (or the end). Returns the status, 0 where there was none. */
static int ask(const char *method, const char *target, const char *body, const char *until)
{
    char request[2048], answer[65536];
    size_t used = 0;
    int status = 0, fd = dial();
    int n = snprintf(request, sizeof(request),
                     "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n%s",
                     method, target, host, strlen(body), body);

    if (fd < 0)
        return 0;
    if (write(fd, request, (size_t)n) == n) {
        for (ssize_t r; used < sizeof(answer) - 1 && (r = read(fd, answer + used, sizeof(answer) - 1 - used)) > 0;) {
            used += (size_t)r;
            answer[used] = '\0';
            if (until && strstr(answer, until))
                break;
        }
        if (used)
            sscanf(answer, "HTTP/1.1 %d", &status);
        if (until && (!used || !strstr(answer, until)))
            status = 0;
    }
    close(fd);
    return status;
}

int main(int argc, char **argv)
{
    const char *url = NULL, *model = NULL;
    bool poll_health = false, warm_up = false;
    unsigned port = 0;
    char body[1024];
    struct timespec now;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--url") && i + 1 < argc)
            url = argv[++i];
        else if (!strcmp(argv[i], "--model") && i + 1 < argc)
            model = argv[++i];
        else if (!strcmp(argv[i], "--poll-health"))
            poll_health = true;
        else if (!strcmp(argv[i], "--warm-up"))
            warm_up = true;
    }
    if (!url || !model || sscanf(url, "http://%63[0-9.]:%u", host, &port) != 2 || port > 65535) {
        fprintf(stderr, "usage: first_token --url http://IP:PORT --model NAME [--poll-health] [--warm-up]\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1)
        return 2;
    if (poll_health) {
        const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        int tries = 0;

        while (ask("GET", "/health", "", NULL) != 200 && tries++ < 30000)
            nanosleep(&pause, NULL);
    }
    if (warm_up) {
        snprintf(body, sizeof(body), "{\"model\":\"%s\",\"prompt\":\"hi\",\"max_tokens\":1,\"cache_prompt\":false}",
                 model);
        if (ask("POST", "/v1/completions", body, NULL) != 200)
            return 1;
    }
    snprintf(body, sizeof(body),
             "{\"model\":\"%s\",\"stream\":true,\"max_tokens\":2,\"temperature\":0,\"messages\":[{\"role\":\"user\","
             "\"content\":\"hello\"}]}",
             model);
    if (ask("POST", "/v1/chat/completions", body, "\"content\":\"") != 200)
        return 1;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("%lld\n", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    return 0;
}

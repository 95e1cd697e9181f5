#include "controller/core/sentence.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/core/text.h"

void sentence_add(char *buf, size_t size, const char *format, ...)
{
    size_t used = strnlen(buf, size);
    va_list args;

    va_start(args, format);
    vsnprintf(buf + used, size - used, format, args);
    va_end(args);
    text_clean(buf + used);
}

/* Not strsignal: it speaks the language of the machine that it runs on. The numbers are Linux's. */
static const char *signal_name(int32_t number)
{
    static const char *const names[] = {
        [1] = "SIGHUP",   [2] = "SIGINT",   [3] = "SIGQUIT",  [4] = "SIGILL",   [6] = "SIGABRT",
        [7] = "SIGBUS",   [8] = "SIGFPE",   [9] = "SIGKILL",  [11] = "SIGSEGV", [13] = "SIGPIPE",
        [14] = "SIGALRM", [15] = "SIGTERM", [24] = "SIGXCPU", [25] = "SIGXFSZ", [31] = "SIGSYS"};

    if (number < 0 || (size_t)number >= sizeof(names) / sizeof(names[0]))
        return NULL;
    return names[number];
}

void sentence_exit(char *buf, size_t size, const struct exit_facts *exit)
{
    const char *name;

    if (!exit->known) {
        text_format(buf, size, "gone, nobody saw how");
        return;
    }
    if (!exit->signal) {
        text_format(buf, size, "exited with code %d", (int)exit->code);
        return;
    }
    name = signal_name(exit->signal);
    text_format(buf, size, "killed by signal %d%s%s%s", (int)exit->signal, name ? " (" : "", name ? name : "",
                name ? ")" : "");
}

void sentence_mib(char *buf, size_t size, uint64_t bytes)
{
    if (bytes)
        text_format(buf, size, "%.2f MiB", (double)bytes / 1048576.0);
    else
        text_format(buf, size, "0 MiB");
}

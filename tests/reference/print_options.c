/* print_options agent|controller: the reference page of a daemon's options, as it stands beside its code. */
#include <stdio.h>
#include <string.h>

#include "agent/options.h"
#include "controller/options.h"

static const struct page {
    const char *program, *file, *beside;
    const struct option_def *table;
} pages[] = {
    {"agent", "agent.conf", "", agent_option_table},
    {"controller", "controller.conf",
     "\n\nWhat is served how stands beside that file, in models.conf: see deploy/examples/models.conf.",
     controller_options},
};

static void print_page(const struct page *p)
{
    printf(
        "# Options of caravan-%s\n\n"
        "A key stands as `key = value` in %s/%s, as CARAVAN_KEY in the environment, and\n"
        "as `--key value`, with - for _, on the command line; each of these overrides the one before. What is written\n"
        "with -- below is for the command line only.%s\n\n",
        p->program, CARAVAN_SYSCONFDIR, p->file, p->beside);
    options_print_markdown(p->table, stdout);
    puts("\nThis page is made from options.c by `cmake --build build/debug --target reference`.");
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof(pages) / sizeof(pages[0]); i++)
        if (!strcmp(argv[1], pages[i].program)) {
            print_page(&pages[i]);
            return 0;
        }
    fprintf(stderr, "usage: print_options agent|controller\n");
    return 2;
}

/* The simulator: plays many seeds, each a story of its own, and says what was looked at.
 *
 *   sim [--from SEED] [--seeds N] [--jobs J] [--hosts N] [--tunnel|--direct] [--cells] [--every-cell] [--all] [--first]
 * --tunnel, --direct: how ranks are reached in each; else each seed chooses.
 * --cells: also why those cells of the state tables that no story can reach are out of reach; --every-cell: it is broken
 * too if one of the others was not reached. --all: goes on beyond 64 that are broken; --first: ends at once with the first,
 * and tells no story.
 *   sim --trace SEED [--hosts N] [--tunnel|--direct]     tells the whole of one, line by line
 *   sim --shrink SEED [--hosts N] [--tunnel|--direct]    makes one that fails short, and tells that
 *
 * Exit status: 0 all well, 1 something was broken (the first three are told), 2 usage. */
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/cells.h"
#include "tests/sim/pages.h"
#include "tests/sim/shrink.h"
#include "tests/sim/world.h"

enum { JOBS_MAX = 64, BROKEN_MAX = 1024, TOLD_MAX = 3, TRIES = 400 };

struct options {
    uint64_t from, seeds, trace, shrink;
    size_t hosts;
    enum scenario_transport transport;
    unsigned jobs;
    bool cells, every_cell, all, first, has_trace, has_shrink;
};

/* Shared by the processes. */
struct board {
    _Atomic uint64_t next;
    _Atomic uint64_t n_broken;
    uint64_t broken[BROKEN_MAX];
    uint64_t playing[JOBS_MAX]; /* UINT64_MAX: nothing */
    struct stats stats[JOBS_MAX];
};

static void note_broken(struct board *b, uint64_t seed)
{
    uint64_t at = b->n_broken++;

    if (at < BROKEN_MAX)
        b->broken[at] = seed;
}

static void work(struct board *b, const struct options *o, unsigned job)
{
    static struct scenario scenario;
    static struct world world;
    uint64_t seed;

    cells_count_in(&b->stats[job]);
    while ((seed = b->next++) < o->from + o->seeds) {
        b->playing[job] = seed;
        scenario_make(&scenario, seed, o->hosts, o->transport);
        world_play(&world, &scenario, &b->stats[job], NULL);
        b->stats[job].seeds++;
        if (world.failed) {
            b->stats[job].failed++;
            printf("seed %" PRIu64 ": [%" PRIu64 "] %s\n", seed, world.now_ms, world.failure);
            fflush(stdout);
            note_broken(b, seed);
            if (o->first || (!o->all && b->n_broken >= 64))
                break;
        }
    }
    b->playing[job] = UINT64_MAX;
}

static pid_t begin_job(struct board *b, const struct options *o, unsigned job)
{
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid == 0) {
        work(b, o, job);
        fflush(stdout);
        _exit(0);
    }
    return pid;
}

/* One that ended in the middle of a seed is noted and replaced. */
static void run_jobs(struct board *b, const struct options *o)
{
    pid_t pid[JOBS_MAX];
    unsigned running = o->jobs;

    for (unsigned i = 0; i < o->jobs; i++)
        pid[i] = begin_job(b, o, i);
    while (running) {
        pid_t ended = wait(NULL);

        for (unsigned i = 0; i < o->jobs; i++) {
            if (pid[i] != ended)
                continue;
            running--;
            if (b->playing[i] == UINT64_MAX)
                continue;
            printf("seed %" PRIu64 ": the program ended: an assertion, or worse\n", b->playing[i]);
            b->stats[i].seeds++;
            b->stats[i].failed++;
            note_broken(b, b->playing[i]);
            if (o->first)
                continue;
            pid[i] = begin_job(b, o, i);
            running++;
        }
    }
}

static void tell(uint64_t seed, const struct options *o, bool shorter)
{
    static struct scenario scenario;
    struct verdict_of_run v;

    scenario_make(&scenario, seed, o->hosts, o->transport);
    if (shorter)
        shrink(&scenario, TRIES);
    printf("---- seed %" PRIu64 "%s: %zu nodes, %s%s%s%s\n", seed, shorter ? ", made short" : "", scenario.n_hosts,
           scenario.tunnel ? "tunnel" : "direct", scenario.shared_machine ? ", the controller on n1's machine" : "",
           scenario.lives_on ? ", coordinators outlive their ranks" : "", scenario.calm ? ", calm" : "");
    v = shrink_play(&scenario, stdout);
    printf("---- seed %" PRIu64 ": %s; hash %016" PRIx64 "\n", seed, v.broken ? v.failure : "all is well", v.hash);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What the jobs have computed: others may be on the machine too. */
static double computed_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int run(const struct options *o)
{
    struct board *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    static struct stats all;
    double began = seconds(), computed;
    unsigned missed;
    uint64_t n;

    if (b == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    b->next = o->from;
    memset(b->playing, 0xff, sizeof(b->playing));
    run_jobs(b, o);
    computed = computed_s();
    for (unsigned i = 0; i < o->jobs; i++)
        stats_add(&all, &b->stats[i]);
    n = b->n_broken;
    if (o->first && n)
        return 1;
    for (uint64_t i = 0; i < n && i < TOLD_MAX; i++)
        tell(b->broken[i], o, true);
    missed = stats_print_cells(&all, o->every_cell, o->cells);
    stats_print(&all, computed);
    missed = o->every_cell ? missed : 0;
    printf("seeds %" PRIu64 " to %" PRIu64 ": %s in %.1f s\n", o->from, o->from + o->seeds - 1,
           n        ? "BROKEN"
           : missed ? "BROKEN: a cell was not reached"
                    : "all is well",
           seconds() - began);
    return n || missed ? 1 : 0;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"from", 1, NULL, 'f'},  {"seeds", 1, NULL, 'n'},      {"jobs", 1, NULL, 'j'},   {"hosts", 1, NULL, 'h'},
        {"trace", 1, NULL, 't'}, {"shrink", 1, NULL, 's'},     {"cells", 0, NULL, 'c'},  {"first", 0, NULL, '1'},
        {"all", 0, NULL, 'a'},   {"every-cell", 0, NULL, 'e'}, {"tunnel", 0, NULL, 'T'}, {"direct", 0, NULL, 'D'},
        {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        uint64_t n = optarg ? strtoull(optarg, NULL, 10) : 0;

        switch (c) {
        case 'f':
            o->from = n;
            break;
        case 'n':
            o->seeds = n;
            break;
        case 'j':
            o->jobs = n >= 1 && n <= JOBS_MAX ? (unsigned)n : 1;
            break;
        case 'h':
            o->hosts = n <= HOSTS_MAX ? n : HOSTS_MAX;
            break;
        case 't':
            o->trace = n;
            o->has_trace = true;
            break;
        case 's':
            o->shrink = n;
            o->has_shrink = true;
            break;
        case 'c':
            o->cells = true;
            break;
        case 'e':
            o->every_cell = true;
            break;
        case 'a':
            o->all = true;
            break;
        case 'T':
            o->transport = SCENARIO_TUNNEL;
            break;
        case 'D':
            o->transport = SCENARIO_DIRECT;
            break;
        case '1':
            o->first = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.from = 1, .seeds = 200, .jobs = cores > JOBS_MAX ? JOBS_MAX : cores > 0 ? (unsigned)cores : 1};

    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: sim [--from SEED] [--seeds N] [--jobs J] [--hosts N] [--tunnel|--direct] [--cells] "
                        "[--every-cell] [--all] | "
                        "--trace SEED | --shrink SEED\n");
        return 2;
    }
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* reports come and go: their pages may stay */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 16 << 20);
    pages_read(SIM_ROOT);
    if (o.has_trace || o.has_shrink) {
        tell(o.has_trace ? o.trace : o.shrink, &o, o.has_shrink);
        return 0;
    }
    return run(&o);
}

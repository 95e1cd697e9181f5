#include "controller/core/planning.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/feeding.h"
#include "controller/core/instances.h"
#include "controller/core/offers.h"
#include "controller/core/recovery.h"
#include "controller/core/replicas.h"
#include "controller/core/sentence.h"

enum { NEAR_MAX = 3 };

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* Letters to change, add or drop to make b of a, either case. */
static size_t name_distance(const char *a, const char *b)
{
    size_t row[PROTO_MODEL_MAX];
    size_t n = strnlen(b, PROTO_MODEL_MAX - 1);

    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (tolower((unsigned char)a[i]) != tolower((unsigned char)b[j]));

            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j + 1] + 1 < best ? row[j + 1] + 1 : best;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[n];
}

static bool name_is_near(const char *wanted, const char *name)
{
    size_t n = strlen(wanted);

    return name_distance(wanted, name) <= n / 3 + 1 || (n >= 2 && strstr(name, wanted));
}

struct near_names {
    size_t n;
    const char *name[NEAR_MAX];
};

static void near_add(struct near_names *near, const char *name)
{
    for (size_t i = 0; i < near->n; i++) {
        if (!strcmp(near->name[i], name))
            return;
    }
    if (near->n < NEAR_MAX)
        near->name[near->n++] = name;
}

static void say_unknown(const struct cluster *c, const char *name, char *why, size_t size)
{
    struct near_names near = {0};
    size_t n_models = 0;

    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct inventory *inv = CLUSTER_NODE(c, k)->models;

        n_models += inv ? inv->n : 0;
        for (size_t m = 0; m < (inv ? inv->n : 0); m++) {
            if (name_is_near(name, inv->model[m].name))
                near_add(&near, inv->model[m].name);
        }
    }
    text_format(why, size, "no node has a model named %s", name);
    for (size_t i = 0; i < near.n; i++)
        sentence_add(why, size, "%s%s", i ? ", " : "; there is ", near.name[i]);
    if (!n_models)
        sentence_add(why, size, "; no node has any model: put GGUF files where the agents' `models =` points");
    else if (!near.n)
        sentence_add(why, size, "; `caravan models` lists what there is");
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

static bool usable(const struct model_facts *f)
{
    return !f->problem[0] && f->shape;
}

/* A usable file before one that is not, then the newest: somebody who replaces a model begins on one node, and a stale or
 * half-copied file elsewhere must not stop that. Asking back would leave the name unusable until the last node is done. */
static bool better(const struct model_facts *f, const struct model_facts *than)
{
    if (!than || usable(f) != usable(than))
        return !than || usable(f);
    return f->mtime_wall_ms > than->mtime_wall_ms;
}

int planning_model(const struct cluster *c, const char *name, const struct model_facts **ret, char *why, size_t size)
{
    const struct model_facts *best = NULL;

    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct inventory *inv = CLUSTER_NODE(c, k)->models;

        for (size_t m = 0; m < (inv ? inv->n : 0); m++) {
            if (!strcmp(inv->model[m].name, name) && better(&inv->model[m], best))
                best = &inv->model[m];
        }
    }
    if (!best) {
        say_unknown(c, name, why, size);
        return CLUSTER_E_UNKNOWN_MODEL;
    }
    if (!usable(best)) {
        text_format(why, size, "%s cannot be served: %s", name,
                    best->problem[0] ? best->problem : "its header was not read");
        return CLUSTER_E_BAD_MODEL;
    }
    *ret = best;
    return 0;
}

/* Nodes with another file under that name are left out of those that hold it: the plan says so. */
static void note_other_files(const struct cluster *c, const struct model_facts *model, struct plan *p)
{
    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(c, k);

        for (size_t m = 0; m < (n->models ? n->models->n : 0) && p->n_notes < PLACE_NOTES_MAX; m++) {
            const struct model_facts *f = &n->models->model[m];

            if (!strcmp(f->name, model->name) && f->header_hash != model->header_hash)
                text_format(p->note[p->n_notes++], sizeof(p->note[0]),
                            "%s holds another file named %s (%016" PRIx64 "); the newest one is used (%016" PRIx64 ")",
                            n->hello.name, f->name, f->header_hash, model->header_hash);
        }
    }
}

/* ---- the plan --------------------------------------------------------------------------------------------------- */

const char *planning_code(int outcome)
{
    switch (outcome) {
    case PLACE_E_NO_FIT:
        return "no_fit";
    case PLACE_E_NO_FILE:
        return "no_file";
    case PLACE_E_TOO_FEW:
        return "too_few";
    case CLUSTER_E_UNKNOWN_MODEL:
        return "unknown_model";
    case PLACE_E_MODEL:
    case CLUSTER_E_BAD_MODEL:
        return "bad_model";
    }
    return "unplaceable";
}

bool planning_is_sound(const struct plan *p)
{
    if (!p->n_ranks || p->n_ranks > PROTO_RANKS_MAX || p->n_notes > PLACE_NOTES_MAX)
        return false;
    for (size_t r = 0; r < p->n_ranks; r++) {
        if (!p->rank[r].n_devices || p->rank[r].n_devices > PROTO_DEVICES_MAX)
            return false;
    }
    return true;
}

/* Why there is no plan: its last note, and who was left out, since that is what a person can change. */
static void say_unplaced(const struct plan *p, int outcome, char *why, size_t size)
{
    size_t used;

    text_format(why, size, "%s", p->n_notes ? p->note[p->n_notes - 1] : planning_code(outcome));
    for (size_t i = 0; i + 1 < p->n_notes; i++) {
        used = strlen(why);
        if (strstr(p->note[i], " left out"))
            text_format(why + used, size - used, "; %s", p->note[i]);
    }
}

static int place(const struct place_request *req, const struct model_facts *model, const struct plan *pinned,
                 const struct place_node *nodes, size_t n_nodes, struct plan **ret, char *why, size_t size)
{
    int r;

    if (!pinned) {
        r = place_compute(req, model, nodes, n_nodes, ret);
        if (r > 0)
            say_unplaced(*ret, r, why, size);
        return r;
    }
    r = place_check(pinned, model, nodes, n_nodes, why, size);
    if (r)
        return r;
    *ret = plan_copy(pinned);
    return *ret ? 0 : err_raise(-ENOMEM);
}

static size_t exclude(const struct instance *i, struct place_node *nodes, size_t n_nodes, bool out)
{
    size_t n = 0;

    for (size_t k = 0; k < n_nodes; k++) {
        nodes[k].excluded = out && recovery_avoids(i, &nodes[k].id);
        n += nodes[k].excluded;
    }
    return n;
}

static void note_taken_all_the_same(const struct instance *i, struct plan *p)
{
    for (size_t r = 0; r < p->n_ranks && p->n_notes < PLACE_NOTES_MAX; r++) {
        if (recovery_avoids(i, &p->rank[r].node))
            text_format(p->note[p->n_notes++], sizeof(p->note[0]),
                        "%s is used again, though the same step failed there twice: nothing fits without it",
                        p->rank[r].node_name);
    }
}

static void drop_note(struct plan *p, const char *text)
{
    size_t n = 0;

    for (size_t k = 0; k < p->n_notes; k++) {
        if (strcmp(p->note[k], text) != 0)
            memmove(p->note[n++], p->note[k], sizeof(p->note[0]));
    }
    p->n_notes = n;
}

/* Nodes of others of its name, which are taken last. */
static bool mark_sisters(const struct cluster *c, const struct instance *i, struct place_node *nodes, size_t n_nodes)
{
    bool any = false;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *other = CLUSTER_INSTANCE(c, k);
        size_t m;

        for (size_t n = 0; n < n_nodes && replicas_are_sisters(i, other); n++) {
            nodes[n].sister |= run_member(&other->run, &nodes[n].id, &m);
            any |= nodes[n].sister;
        }
    }
    return any;
}

static bool is_used(const struct plan *p, const struct id128 *node)
{
    for (size_t r = 0; r < p->n_ranks; r++) {
        if (id128_equal(&p->rank[r].node, node))
            return true;
    }
    return false;
}

static void note_sisters(const struct place_node *nodes, size_t n_nodes, struct plan *p)
{
    for (size_t k = 0; k < n_nodes && p->n_notes < PLACE_NOTES_MAX; k++) {
        if (nodes[k].sister)
            text_format(p->note[p->n_notes++], sizeof(p->note[0]),
                        is_used(p, &nodes[k].id) ? "%s runs another replica too: no other node will do"
                                                 : "%s runs another replica: tried last",
                        nodes[k].name);
    }
}

/* Also into a plan that somebody saved while it was another one: how ranks are reached is no part of a wish. */
static void tell_transport(const struct cluster *c, struct plan *p)
{
    static const char gives_up[] =
        "rank_transport = direct: what passes between ranks is not encrypted, whoever reaches their ports may use them, and "
        "hangs and loads are judged without seeing it";

    drop_note(p, gives_up);
    p->transport = c->config.tunnel ? TRANSPORT_TUNNEL : TRANSPORT_DIRECT;
    if (!c->config.tunnel && p->n_notes < PLACE_NOTES_MAX)
        text_format(p->note[p->n_notes++], sizeof(p->note[0]), "%s", gives_up);
}

int planning_compute(const struct cluster *c, const struct planning *p, struct plan **ret, char *why, size_t size)
{
    CLEANUP(cleanup_free) struct place_node *nodes = NULL;
    const struct plan *pinned = p->who ? p->who->pinned : NULL;
    const struct model_facts *model;
    size_t n_nodes, n_out = 0;
    bool sisters;
    int r;

    *ret = NULL;
    r = planning_model(c, p->request->model, &model, why, size);
    if (r)
        return r;
    r = offers_make(c, model, p->gone, &nodes, &n_nodes);
    if (r)
        return err_fold(r);
    sisters = p->who && !pinned && mark_sisters(c, p->who, nodes, n_nodes);
    if (p->who && !pinned) /* a person chose the nodes of a pinned one */
        n_out = exclude(p->who, nodes, n_nodes, true);
    r = place(p->request, model, pinned, nodes, n_nodes, ret, why, size);
    if (r > 0 && n_out) {
        free(*ret);
        *ret = NULL;
        exclude(p->who, nodes, n_nodes, false);
        r = place(p->request, model, NULL, nodes, n_nodes, ret, why, size);
    }
    if (r >= 0 && *ret)
        note_other_files(c, model, *ret);
    if (r == 0 && n_out)
        note_taken_all_the_same(p->who, *ret);
    if (r == 0 && sisters)
        note_sisters(nodes, n_nodes, *ret);
    if (r == 0) {
        tell_transport(c, *ret);
        feeding_note(c, model, *ret);
    }
    return r < 0 ? err_pass(r) : r;
}

int planning_instance(const struct cluster *c, const struct instance *i, struct plan **ret, char *why, size_t size)
{
    return planning_compute(c, &(struct planning){.request = &i->request, .who = i}, ret, why, size);
}

int cluster_plan(const struct cluster *c, const struct place_request *req, uint64_t now_ms, struct plan **ret,
                 char *why, size_t why_size)
{
    struct place_request request;
    int r = served_fill(served_named(c, req->model), req, &request);

    (void)now_ms; /* what a node's silence means has been decided by the last step */
    *ret = NULL;
    if (r)
        return err_fold(r);
    r = planning_compute(c, &(struct planning){.request = &request}, ret, why, why_size);
    request_clear(&request);
    return r < 0 ? err_pass(r) : r;
}

/* The metrics page: every fixed series from the start, figures right, and clean in the eyes of promtool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "controller/metrics.h"
#include "tests/lib/view_lab.h"

static char *print(const struct metrics *m, const struct view *v, const struct metrics_control *control)
{
    char *text = NULL;
    size_t n = 0;

    assert_int_equal(metrics_print(m, v, control, 1700000001000, &text, &n), 0);
    assert_int_equal(strlen(text), n);
    return text;
}

static void assert_line(const char *text, const char *line)
{
    char wanted[256];

    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    if (!strstr(text, wanted))
        fail_msg("no line %s in:\n%s", line, text);
}

static void assert_state(const char *text, const char *name, const char *state)
{
    char line[128];

    snprintf(line, sizeof(line), "%s{state=\"%s\"} 0", name, state);
    assert_line(text, line);
}

static void test_from_the_start(void **state)
{
    struct metrics_control control = {.messages_malformed = 0};
    struct metrics *m = NULL;
    char *text;

    (void)state;
    assert_int_equal(metrics_new(&m), 0);
    text = print(m, NULL, &control);
    assert_line(text, "caravan_leader 0");
    assert_line(text, "caravan_nodes{state=\"ready\"} 0");
    assert_line(text, "caravan_nodes{state=\"retired\"} 0");
    for (int s = NODE_UNKNOWN; s <= NODE_RETIRED; s++)
        assert_state(text, "caravan_nodes", node_state_name((enum node_state)s));
    for (int s = INSTANCE_REQUESTED; s <= INSTANCE_FAILED; s++)
        assert_state(text, "caravan_instances", instance_state_name((enum instance_state)s));
    assert_line(text, "caravan_brake 0");
    assert_line(text, "caravan_audit_lost_total 0");
    assert_line(text, "caravan_late_messages_total 0");
    assert_line(text, "caravan_link_refused_total 0");
    assert_line(text, "caravan_join_refused_total 0");
    assert_line(text, "caravan_api_keys{scope=\"infer\"} 0");
    assert_line(text, "caravan_coordinator_starts_total 0");
    assert_line(text, "caravan_gateway_requests_total{model=\"unknown\",code=\"404\"} 0");
    assert_line(text, "caravan_http_refused_total{code=\"431\"} 0");
    assert_line(text, "caravan_store_commit_seconds_bucket{le=\"+Inf\"} 0");
    free(text);
    metrics_destroy(&m);
}

/* Its model and unit. */
#define M "model=\"a\\\"b\\\\c\",unit=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""

static void answered(struct metrics *m, const char *model, int status)
{
    const struct metrics_answer a = {.model = model, .status = status, .first_s = -1, .token_s = -1, .n_tokens = -1};

    metrics_gateway_answer(m, &a);
}

static char *full_page(void)
{
    struct metrics_control control = {.messages_malformed = 2};
    struct view *v = lab_view(INSTANCE_READY, 1);
    struct metrics *m = NULL;
    char *text;

    assert_int_equal(metrics_new(&m), 0);
    snprintf(v->node[1].hello.name, sizeof(v->node[1].hello.name), "n1"); /* a twin */
    snprintf(v->instance[0].name, sizeof(v->instance[0].name), "a\"b\\c");
    v->node[1].state = NODE_SUSPECT;
    v->brake.on = true;
    v->late_messages = 3;
    v->instance[0].rank[1].frozen_ms = 7500;
    v->instance[0].rank[1].has_flow = true;
    v->instance[0].rank[1].flow = (struct rank_flow){.request_bytes = 1234,
                                                     .answer_bytes = 56,
                                                     .fed_bytes = 789,
                                                     .n_round_trips = 10,
                                                     .graph_ms = 11500,
                                                     .oldest = "GET_TENSOR",
                                                     .oldest_ms = 8250};
    v->instance[0].attempts = 2;
    v->node[0].device[0].utilization_permille = 250;
    v->node[0].device[0].temperature_c = -3;
    v->node[0].n_refused = 1234567;
    v->node[1].n_unreached = 3;
    metrics_gateway_answer(m, &(struct metrics_answer){.model = "m",
                                                       .status = 200,
                                                       .queue_s = 0.02,
                                                       .first_s = 0.3,
                                                       .token_s = 0.02,
                                                       .total_s = 3.3,
                                                       .n_tokens = 151});
    answered(m, "m", 200);
    answered(m, "m", 418);
    answered(m, NULL, 404);
    metrics_http_refused(m, 400);
    metrics_observe(&control.store_commit, 0.0002);
    metrics_observe(&control.store_commit, 30);
    text = print(m, v, &control);
    view_unref(&v);
    metrics_destroy(&m);
    return text;
}

static void test_figures(void **state)
{
    char *text = full_page();

    (void)state;
    assert_line(text, "caravan_leader 1");
    assert_line(text, "caravan_nodes{state=\"ready\"} 1");
    assert_line(text, "caravan_nodes{state=\"suspect\"} 1");
    assert_line(text, "caravan_brake 1");
    assert_line(text, "caravan_late_messages_total 3");
    assert_line(
        text,
        "caravan_rank_stall_seconds{model=\"a\\\"b\\\\c\",unit=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",rank=\"0\"} 0.000");
    assert_line(
        text,
        "caravan_rank_stall_seconds{model=\"a\\\"b\\\\c\",unit=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",rank=\"1\"} 8.250");
    assert_line(text, "caravan_rank_bytes_total{" M ",rank=\"1\",direction=\"to\"} 1234");
    assert_line(text, "caravan_rank_bytes_total{" M ",rank=\"1\",direction=\"from\"} 56");
    assert_line(text, "caravan_rank_fed_bytes_total{" M ",rank=\"1\"} 789");
    assert_line(text, "caravan_rank_round_trips_total{" M ",rank=\"1\"} 10");
    assert_line(text, "caravan_rank_graph_seconds_total{" M ",rank=\"1\"} 11.500");
    assert_null(strstr(text, "caravan_rank_bytes_total{" M ",rank=\"0\"")); /* nobody told */
    assert_line(text, "caravan_instance_attempts{model=\"a\\\"b\\\\c\",unit=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"} 2");
    assert_line(text, "caravan_node_up{node=\"n1-01010101\"} 1");
    assert_line(text, "caravan_carrier_refused_total{node=\"n1-01010101\"} 1234567");
    assert_line(text, "caravan_carrier_refused_total{node=\"n1-02020202\"} 0");
    assert_line(text, "caravan_carrier_unreached_total{node=\"n1-02020202\"} 3");
    assert_line(text, "caravan_node_up{node=\"n1-02020202\"} 0");
    assert_line(text, "caravan_node_last_report_seconds{node=\"n1-01010101\"} 1.120");
    assert_line(text, "caravan_device_memory_bytes{node=\"n1-01010101\",device=\"CPU\",kind=\"free\"} 6000");
    assert_line(text, "caravan_device_utilization_ratio{node=\"n1-01010101\",device=\"CPU\"} 0.250");
    assert_line(text, "caravan_device_temperature_celsius{node=\"n1-01010101\",device=\"CPU\"} -3");
    assert_null(strstr(text, "caravan_device_temperature_celsius{node=\"n1-02020202\""));
    assert_line(text, "caravan_instance_ready{model=\"a\\\"b\\\\c\",unit=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"} 1");
    assert_line(text, "caravan_transitions_refused_total{machine=\"node\",state=\"retired\",event=\"report\"} 0");
    assert_line(text, "caravan_gateway_requests_total{model=\"m\",code=\"200\"} 2");
    assert_line(text, "caravan_gateway_requests_total{model=\"m\",code=\"other\"} 1");
    assert_line(text, "caravan_gateway_requests_total{model=\"unknown\",code=\"404\"} 1");
    assert_line(text, "caravan_gateway_queue_seconds_bucket{model=\"m\",le=\"0.01\"} 2"); /* 0 for those not said */
    assert_line(text, "caravan_gateway_queue_seconds_bucket{model=\"m\",le=\"0.05\"} 3");
    assert_line(text, "caravan_gateway_ttft_seconds_bucket{model=\"m\",le=\"0.25\"} 0");
    assert_line(text, "caravan_gateway_ttft_seconds_bucket{model=\"m\",le=\"0.5\"} 1");
    assert_line(text, "caravan_gateway_ttft_seconds_count{model=\"m\"} 1");
    assert_line(text, "caravan_gateway_token_seconds_sum{model=\"m\"} 0.020000");
    assert_line(text, "caravan_gateway_request_seconds_count{model=\"m\"} 3");
    assert_line(text, "caravan_gateway_answer_tokens_bucket{model=\"m\",le=\"128\"} 0");
    assert_line(text, "caravan_gateway_answer_tokens_bucket{model=\"m\",le=\"256\"} 1");
    assert_null(strstr(text, "caravan_gateway_queue_seconds_count{model=\"unknown\"")); /* words of strangers */
    assert_line(text, "caravan_http_refused_total{code=\"400\"} 1");
    assert_line(text, "caravan_store_commit_seconds_bucket{le=\"0.0001\"} 0");
    assert_line(text, "caravan_store_commit_seconds_bucket{le=\"0.00025\"} 1");
    assert_line(text, "caravan_store_commit_seconds_bucket{le=\"1\"} 1");
    assert_line(text, "caravan_store_commit_seconds_bucket{le=\"+Inf\"} 2");
    free(text);
}

static void test_labels_are_bounded(void **state)
{
    struct metrics_control control = {.messages_malformed = 0};
    struct metrics *m = NULL;
    char name[32], *text;

    (void)state;
    assert_int_equal(metrics_new(&m), 0);
    for (int i = 0; i < METRICS_MODELS_MAX + 5; i++) {
        snprintf(name, sizeof(name), "model-%d", i);
        answered(m, name, 200);
    }
    text = print(m, NULL, &control);
    assert_line(text, "caravan_gateway_requests_total{model=\"unknown\",code=\"200\"} 5");
    free(text);
    metrics_destroy(&m);
}

static void test_promtool_is_content(void **state)
{
    FILE *tool = popen("promtool check metrics", "w");
    char *text = full_page();
    int status;

    (void)state;
    assert_non_null(tool);
    fputs(text, tool);
    status = pclose(tool);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_the_start),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_labels_are_bounded),
        cmocka_unit_test(test_promtool_is_content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

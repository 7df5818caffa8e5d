/* tools/stats_rows.c, stats_metrics.c, stats_table.c: nothing that is told is left out, and
 * whatever comes from the other process, what is printed is well formed. */
#include "core/queue_report.h"
#include "tools/stats.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text)
{
    char json[4096];
    json_error_t error;
    json_t *ret;

    ck_assert_uint_lt(strlen(text), sizeof(json));
    strcpy(json, text);
    for (char *at = json; *at; at++)
        if (*at == '\'')
            *at = '"';
    ret = json_loads(json, 0, &error);
    ck_assert_msg(ret != NULL, "%s in %s", error.text, json);
    return ret;
}

/* What `show` prints of the document; a text of malloc(). */
static char *print(void (*show)(FILE *, const json_t *, bool), const char *text, bool peers)
{
    json_t *document = parse(text);
    char *printed = NULL;
    size_t len;
    FILE *file = open_memstream(&printed, &len);

    show(file, document, peers);
    fclose(file);
    json_decref(document);
    return printed;
}

static void has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%.3000s", part, text);
}

static void has_not(const char *text, const char *part)
{
    ck_assert_msg(!strstr(text, part), "\"%s\" in:\n%s", part, text);
}

/* ---- the table of names ---- */

static const struct nqi_stats_row *row_of(const char *name, unsigned *count)
{
    const struct nqi_stats_row *row = NULL;

    *count = 0;
    for (size_t i = 0; i < nqi_stats_nrows; i++)
        if (strcmp(nqi_stats_rows[i].name, name) == 0) {
            row = &nqi_stats_rows[i];
            ++*count;
        }
    return row;
}

START_TEST(no_field_that_a_queue_tells_is_left_out)
{
    for (size_t i = 0; i < nqi_report_nfields; i++) {
        const struct nqi_report_field *field = &nqi_report_fields[i];
        unsigned count;
        const struct nqi_stats_row *row = row_of(field->name, &count);

        ck_assert_msg(count == 1, "%s has %u rows", field->name, count);
        if (field->place)
            ck_assert(row->label && !row->value);
        else
            ck_assert(!row->label == !row->value);
    }
    ck_assert_uint_eq(nqi_stats_nrows, nqi_report_nfields);
}
END_TEST

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void check_families(const struct nqi_stats_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool first = !i || !same(rows[i].family, rows[i - 1].family) ||
                     !same(rows[i].unit, rows[i - 1].unit);

        ck_assert_uint_eq(strspn(rows[i].family, "abcdefghijklmnopqrstuvwxyz_"),
                          strlen(rows[i].family));
        ck_assert_msg(first == (rows[i].help != NULL), "%s", rows[i].name);
        if (!first) {
            ck_assert_int_eq(rows[i].kind, rows[i - 1].kind);
            ck_assert(same(rows[i].label, rows[i - 1].label));
            ck_assert(rows[i].label && !same(rows[i].value, rows[i - 1].value));
            continue;
        }
        for (size_t k = 0; k < i; k++) /* in one piece */
            ck_assert(!same(rows[i].family, rows[k].family) || !same(rows[i].unit, rows[k].unit));
    }
}

START_TEST(families_stand_in_one_piece_and_say_what_they_are)
{
    check_families(nqi_stats_rows, nqi_stats_nrows);
    check_families(nqi_stats_peer_rows, nqi_stats_npeer_rows);
}
END_TEST

/* The page has a line for each, and no other. */
static size_t check_page(const char *page, const struct nqi_stats_row *rows, size_t n)
{
    char line[256], labels[128];

    for (size_t i = 0; i < n; i++) {
        const struct nqi_stats_row *row = &rows[i];

        labels[0] = '\0';
        if (row->label)
            snprintf(labels, sizeof(labels), "{%s=\"%s\"}", row->label,
                     row->value ? row->value : "...");
        snprintf(line, sizeof(line), "\n| `%s` | `netqueue_%s%s%s%s%s` |\n", row->name, row->family,
                 row->unit ? "_" : "", row->unit ? row->unit : "",
                 row->kind == NQI_STATS_COUNTER ? "_total" : "", labels);
        has(page, line);
    }
    return n;
}

START_TEST(the_page_names_the_metrics)
{
    const char *top = getenv("top_srcdir");
    static char page[1 << 16];
    char path[512];
    size_t rows = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/docs/stats.md", top ? top : ".");
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_lt(fread(page, 1, sizeof(page) - 1, file), sizeof(page) - 1);
    fclose(file);
    for (const char *at = page; (at = strstr(at, "| `netqueue_")); at++)
        rows++;
    ck_assert_uint_eq(rows, check_page(page, nqi_stats_rows, nqi_stats_nrows) +
                                check_page(page, nqi_stats_peer_rows, nqi_stats_npeer_rows));
}
END_TEST

/* ---- OpenMetrics ---- */

static const char document[] =
    "{'netqueue': 'stats', 'id': 'me', 'purpose': 'server', 'version': '1', 'pid': 7,"
    " 'uptime_ns': 1500000000, 'stats': {'bytes_out': 12, 'delivered': 3, 'handed': 4,"
    " 'dropped_by': {'queue_full': 5, 'new': 6}, 'peers': 2, 'later': 9},"
    " 'transports': [{'transport': 'tcp', 'state': 'ready', 'connects': 1, 'failures': 2},"
    " {'transport': 'tcp', 'state': 'failing', 'connects': 3}],"
    " 'peers': [{'id': 'a', 'up': true, 'bytes_in': 8}, {'id': 'b', 'up': false}]}";

START_TEST(metrics_have_types_units_and_an_end)
{
    char *text = print(nqi_stats_metrics, document, false);

    has(text, "# TYPE netqueue info\n");
    has(text, "\nnetqueue_info{id=\"me\",purpose=\"server\",version=\"1\",pid=\"7\"} 1\n");
    has(text, "\nnetqueue_uptime_seconds 1.500\n");
    has(text, "\n# TYPE netqueue_sent_bytes counter\n# UNIT netqueue_sent_bytes bytes\n# HELP "
              "netqueue_sent_bytes Their payload.\nnetqueue_sent_bytes_total 12\n");
    has(text, "\nnetqueue_settled_puts_total{outcome=\"delivered\"} 3\n"
              "netqueue_settled_puts_total{outcome=\"handed\"} 4\n");
    has(text, "\nnetqueue_failed_puts_total{reason=\"queue_full\"} 5\n"
              "netqueue_failed_puts_total{reason=\"new\"} 6\n");
    has(text, "\n# TYPE netqueue_peers gauge\n");
    has(text, "\nnetqueue_peers 2\n");
    has(text, "\nnetqueue_transport_ready{transport=\"tcp\",place=\"0\"} 1\n"
              "netqueue_transport_ready{transport=\"tcp\",place=\"1\"} 0\n");
    has(text, "\nnetqueue_transport_failures_total{transport=\"tcp\",place=\"0\"} 2\n");
    has_not(text, "later");
    has_not(text, "netqueue_peer_");
    ck_assert_str_eq(text + strlen(text) - 6, "# EOF\n");
    ck_assert_ptr_eq(strstr(text, "# EOF"), text + strlen(text) - 6);
    free(text);
}
END_TEST

START_TEST(peers_are_metrics_when_they_are_asked_for)
{
    char *text = print(nqi_stats_metrics, document, true);

    has(text, "\nnetqueue_peer_up{peer=\"a\"} 1\nnetqueue_peer_up{peer=\"b\"} 0\n");
    has(text, "\nnetqueue_peer_received_bytes_total{peer=\"a\"} 8\n");
    free(text);
}
END_TEST

START_TEST(labels_are_escaped)
{
    char *text = print(nqi_stats_metrics,
                       "{'id': '\\\"\\\\\\n', 'stats': {'dropped_by': {'a\\\"b': 1}}}", false);

    has(text, "{id=\"\\\"\\\\\\n\",");
    has(text, "{reason=\"a\\\"b\"} 1\n");
    free(text);
}
END_TEST

/* ---- for people ---- */

START_TEST(the_table_has_every_number)
{
    char *text = print(nqi_stats_table, document, true);

    has(text, "queue      me, a server\nprocess    7, netqueue 1, open for 1.5s\n");
    has(text, "\ndelivered           3\n");
    has(text, "\ndropped_by          queue_full 5, new 6\n");
    has(text, "\ntcp         ready       1        2");
    has(text, "\nb                                    down ");
    free(text);
    text = print(nqi_stats_table, document, false);
    has_not(text, "PEER");
    free(text);
}
END_TEST

static const struct {
    const char *ns, *text;
} times[] = {
    {"0", "0.0s"},
    {"59900000000", "59.9s"},
    {"60000000000", "1min 0s"},
    {"'x'", "0.0s"},
    {"3600000000000", "1h 0min"},
    {"86399000000000", "23h 59min"},
    {"90000000000000", "1d 1h"},
};

START_TEST(times_have_two_units)
{
    char json[128], part[64], *text;

    snprintf(json, sizeof(json), "{'uptime_ns': %s}", times[_i].ns);
    snprintf(part, sizeof(part), "open for %s\n", times[_i].text);
    text = print(nqi_stats_table, json, false);
    has(text, part);
    free(text);
}
END_TEST

static const struct {
    const char *bytes, *text;
} sizes[] = {
    {"1023", "pool_bytes          1023\n"},
    {"1024", "pool_bytes          1024  1.0 KiB\n"},
    {"36175872", "pool_bytes          36175872  34.5 MiB\n"},
    {"9223372036854775807", "pool_bytes          9223372036854775807  8.0 EiB\n"},
};

START_TEST(sizes_have_a_unit_beside_them)
{
    char json[128], *text;

    snprintf(json, sizeof(json), "{'stats': {'pool_bytes': %s}}", sizes[_i].bytes);
    text = print(nqi_stats_table, json, false);
    has(text, sizes[_i].text);
    free(text);
}
END_TEST

START_TEST(nothing_of_it_moves_the_cursor)
{
    char *text = print(nqi_stats_table,
                       "{'id': '\\u001b[2J', 'transports': [{'transport': '\\u009b', 'text': "
                       "'a\\nb'}], 'stats': {'health': {'\\u001b': 1}}, 'peers': [{'id': '\\r'}]}",
                       true);

    has(text, "queue      \\x1b[2J,");
    has(text, "\\xc2\\x9b");
    has(text, "a\\x0ab\n");
    for (const char *at = text; *at; at++)
        ck_assert(*at == '\n' || (*at >= 0x20 && *at < 0x7f));
    free(text);
}
END_TEST

/* ---- documents that are none ---- */

static const char *const odd[] = {
    "{}",
    "[]",
    "{'stats': 1, 'transports': 2, 'peers': 'x', 'id': 3, 'pid': 'y', 'uptime_ns': []}",
    "{'stats': {'delivered': 'many', 'dropped_by': 3, 'health': {'ready': 'x'}, 'peers': {'a': "
    "{}}},"
    " 'transports': [1, 'x', {}, []], 'peers': [null, 1, {}, {'id': 1, 'up': 'x'}]}",
};

START_TEST(members_of_other_types_are_left_alone)
{
    char *text = print(nqi_stats_metrics, odd[_i], true);

    ck_assert_str_eq(text + strlen(text) - 6, "# EOF\n");
    free(text);
    text = print(nqi_stats_table, odd[_i], true);
    has(text, "TRANSPORT");
    free(text);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tool_stats");
    TCase *tc = tcase_create("tool_stats");

    tcase_add_test(tc, no_field_that_a_queue_tells_is_left_out);
    tcase_add_test(tc, families_stand_in_one_piece_and_say_what_they_are);
    tcase_add_test(tc, the_page_names_the_metrics);
    tcase_add_test(tc, metrics_have_types_units_and_an_end);
    tcase_add_test(tc, peers_are_metrics_when_they_are_asked_for);
    tcase_add_test(tc, labels_are_escaped);
    tcase_add_test(tc, the_table_has_every_number);
    tcase_add_loop_test(tc, times_have_two_units, 0, NQI_LEN(times));
    tcase_add_loop_test(tc, sizes_have_a_unit_beside_them, 0, NQI_LEN(sizes));
    tcase_add_test(tc, nothing_of_it_moves_the_cursor);
    tcase_add_loop_test(tc, members_of_other_types_are_left_alone, 0, NQI_LEN(odd));
    suite_add_tcase(suite, tc);
    return suite;
}

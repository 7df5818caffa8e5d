/* OpenMetrics text, version 1.0: types, units, help, one family after the other, and the end.
 *
 * Peers are told one family at a time, since a family must stand in one piece. */
#include "tools/stats.h"
#include <string.h>

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

/* name="value" with what must be escaped. */
static void metrics_label(FILE *out, const char *before, const char *name, const char *value)
{
    fprintf(out, "%s%s=\"", before, name);
    for (; *value; value++) {
        if (*value == '\n')
            fputs("\\n", out);
        else if (*value == '"' || *value == '\\')
            fprintf(out, "\\%c", *value);
        else
            putc(*value, out);
    }
    putc('"', out);
}

static void metrics_family_name(FILE *out, const struct nqi_stats_row *row)
{
    fprintf(out, "netqueue_%s%s%s", row->family, row->unit ? "_" : "", row->unit ? row->unit : "");
}

static bool metrics_same_family(const struct nqi_stats_row *a, const struct nqi_stats_row *b)
{
    return strcmp(a->family, b->family) == 0 &&
           (a->unit == b->unit || (a->unit && b->unit && strcmp(a->unit, b->unit) == 0));
}

static void metrics_head(FILE *out, const struct nqi_stats_row *row)
{
    fputs("# TYPE ", out);
    metrics_family_name(out, row);
    fputs(row->kind == NQI_STATS_COUNTER ? " counter\n" : " gauge\n", out);
    if (row->unit) {
        fputs("# UNIT ", out);
        metrics_family_name(out, row);
        fprintf(out, " %s\n", row->unit);
    }
    fputs("# HELP ", out);
    metrics_family_name(out, row);
    fprintf(out, " %s\n", row->help);
}

/* One line.  @param peer  its id; NULL = none.  What is no number is not told. */
static void metrics_sample(FILE *out, const struct nqi_stats_row *row, const char *value,
                           const char *peer, const json_t *number)
{
    const char *before = "{";

    if (!json_is_integer(number) && !json_is_boolean(number))
        return;
    metrics_family_name(out, row);
    fputs(row->kind == NQI_STATS_COUNTER ? "_total" : "", out);
    if (peer)
        metrics_label(out, before, "peer", peer);
    if (row->label)
        metrics_label(out, peer ? "," : before, row->label, value);
    fprintf(out, "%s %lld\n", peer || row->label ? "}" : "",
            json_is_integer(number) ? (long long)json_integer_value(number)
                                    : (long long)json_is_true(number));
}

static void metrics_row(FILE *out, const struct nqi_stats_row *row, const json_t *stats)
{
    json_t *number = json_object_get(stats, row->name), *member;
    const char *value;

    if (!row->label || row->value) {
        metrics_sample(out, row, row->value, NULL, number);
        return;
    }
    json_object_foreach(number, value, member)
    {
        metrics_sample(out, row, value, NULL, member);
    }
}

static void metrics_queue(FILE *out, const json_t *stats)
{
    for (size_t i = 0; i < nqi_stats_nrows; i++) {
        const struct nqi_stats_row *row = &nqi_stats_rows[i];

        if (!i || !metrics_same_family(row, row - 1))
            metrics_head(out, row);
        metrics_row(out, row, stats);
    }
}

static void metrics_peers(FILE *out, json_t *peers)
{
    for (size_t i = 0; i < nqi_stats_npeer_rows; i++) {
        const struct nqi_stats_row *row = &nqi_stats_peer_rows[i];

        metrics_head(out, row);
        for (size_t k = 0; k < json_array_size(peers); k++) {
            const json_t *peer = json_array_get(peers, k);

            metrics_sample(out, row, row->value, text_of(peer, "id"),
                           json_object_get(peer, row->name));
        }
    }
}

/* The transports' own families. */
static const struct nqi_stats_row transport_rows[] = {
    {"state", "transport_ready", NULL, NULL, NQI_STATS_GAUGE, NULL,
     "1 while it is connected, a server's: while it listens."},
    {"connects", "transport_connects", NULL, NULL, NQI_STATS_COUNTER, NULL,
     "Times that it began to connect."},
    {"failures", "transport_failures", NULL, NULL, NQI_STATS_COUNTER, NULL,
     "Times that this failed, or the connection broke."},
};

/* The same transport may stand in the list twice: its place tells them apart. */
static void metrics_transport(FILE *out, const struct nqi_stats_row *row, const json_t *transport,
                              size_t place)
{
    const json_t *number = json_object_get(transport, row->name);
    const char *state = json_string_value(number);
    char text[24];

    snprintf(text, sizeof(text), "%zu", place);
    metrics_family_name(out, row);
    fputs(row->kind == NQI_STATS_COUNTER ? "_total" : "", out);
    metrics_label(out, "{", "transport", text_of(transport, "transport"));
    metrics_label(out, ",", "place", text);
    fprintf(out, "} %lld\n",
            state ? (long long)(strcmp(state, "ready") == 0)
                  : (long long)json_integer_value(number));
}

static void metrics_transports(FILE *out, json_t *transports)
{
    for (size_t i = 0; i < NQI_LEN(transport_rows); i++) {
        metrics_head(out, &transport_rows[i]);
        for (size_t k = 0; k < json_array_size(transports); k++)
            metrics_transport(out, &transport_rows[i], json_array_get(transports, k), k);
    }
}

static void metrics_process(FILE *out, const json_t *document)
{
    char pid[24];

    snprintf(pid, sizeof(pid), "%lld",
             (long long)json_integer_value(json_object_get(document, "pid")));
    fputs("# TYPE netqueue info\n# HELP netqueue The queue and its process.\nnetqueue_info", out);
    metrics_label(out, "{", "id", text_of(document, "id"));
    metrics_label(out, ",", "purpose", text_of(document, "purpose"));
    metrics_label(out, ",", "version", text_of(document, "version"));
    metrics_label(out, ",", "pid", pid);
    fprintf(out,
            "} 1\n# TYPE netqueue_uptime_seconds gauge\n# UNIT netqueue_uptime_seconds seconds\n"
            "# HELP netqueue_uptime_seconds Since the queue was opened.\n"
            "netqueue_uptime_seconds %.3f\n",
            (double)json_integer_value(json_object_get(document, "uptime_ns")) / 1e9);
}

void nqi_stats_metrics(FILE *out, const json_t *document, bool peers)
{
    metrics_process(out, document);
    metrics_queue(out, json_object_get(document, "stats"));
    metrics_transports(out, json_object_get(document, "transports"));
    if (peers)
        metrics_peers(out, json_object_get(document, "peers"));
    fputs("# EOF\n", out);
}

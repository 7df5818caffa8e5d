/* For people: who it is, each number with its name, transports, and peers when they are asked for.
 */
#include "tools/stats.h"
#include <string.h>

/* Text of another process: what could move the cursor is printed as \xNN.  At least `width` wide.
 */
static void table_text(FILE *out, const char *text, int width)
{
    for (; text && *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = c >= 0x20 && c < 0x7f;

        if (plain)
            putc(c, out);
        else
            fprintf(out, "\\x%02x", c);
        width -= plain ? 1 : 4;
    }
    for (; width > 0; width--)
        putc(' ', out);
}

static void table_member(FILE *out, const json_t *object, const char *name, int width)
{
    table_text(out, json_string_value(json_object_get(object, name)), width);
}

static long long table_number(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

/* "3h 12min", "5min 3s", "12.3s" */
static void table_time(FILE *out, int64_t ns)
{
    int64_t s = ns / NQI_NS_PER_S;

    if (s >= 24 * 3600)
        fprintf(out, "%lldd %lldh", (long long)(s / 86400), (long long)(s / 3600 % 24));
    else if (s >= 3600)
        fprintf(out, "%lldh %lldmin", (long long)(s / 3600), (long long)(s / 60 % 60));
    else if (s >= 60)
        fprintf(out, "%lldmin %llds", (long long)(s / 60), (long long)(s % 60));
    else
        fprintf(out, "%.1fs", (double)ns / 1e9);
}

/* "34.5 MiB" behind what is more than a KiB. */
static void table_size(FILE *out, long long bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024)
        return;
    for (; size >= 1024 && unit + 1 < NQI_LEN(units); unit++)
        size /= 1024;
    fprintf(out, "  %.1f %s", size, units[unit]);
}

static void table_head(FILE *out, const json_t *document)
{
    fputs("queue      ", out);
    table_member(out, document, "id", 0);
    fputs(", a ", out);
    table_member(out, document, "purpose", 0);
    if (json_is_true(json_object_get(document, "closing")))
        fputs(", closing", out);
    fprintf(out, "\nprocess    %lld, netqueue ", table_number(document, "pid"));
    table_member(out, document, "version", 0);
    fputs(", open for ", out);
    table_time(out, table_number(document, "uptime_ns"));
    fputs("\n\n", out);
}

static void table_places(FILE *out, const char *name, json_t *object)
{
    const char *place, *before = "";
    json_t *number;

    fprintf(out, "%-20s", name);
    json_object_foreach(object, place, number)
    {
        if (!json_integer_value(number))
            continue;
        fputs(before, out);
        table_text(out, place, 0);
        fprintf(out, " %lld", (long long)json_integer_value(number));
        before = ", ";
    }
    fputs(*before ? "\n" : "-\n", out);
}

static void table_stats(FILE *out, const json_t *stats)
{
    for (size_t i = 0; i < nqi_stats_nrows; i++) {
        const struct nqi_stats_row *row = &nqi_stats_rows[i];
        json_t *number = json_object_get(stats, row->name);

        if (json_is_object(number)) {
            table_places(out, row->name, number);
        } else if (json_is_integer(number)) {
            fprintf(out, "%-20s%lld", row->name, (long long)json_integer_value(number));
            if (row->unit && strcmp(row->unit, "bytes") == 0)
                table_size(out, (long long)json_integer_value(number));
            putc('\n', out);
        }
    }
}

static void table_transports(FILE *out, json_t *transports)
{
    fprintf(out, "\n%-12s%-12s%-9s%-9s%s\n", "TRANSPORT", "STATE", "CONNECTS", "FAILURES", "TEXT");
    for (size_t i = 0; i < json_array_size(transports); i++) {
        const json_t *transport = json_array_get(transports, i);

        table_member(out, transport, "transport", 12);
        table_member(out, transport, "state", 12);
        fprintf(out, "%-9lld%-9lld", table_number(transport, "connects"),
                table_number(transport, "failures"));
        table_member(out, transport, "text", 0);
        putc('\n', out);
    }
}

static void table_peers(FILE *out, json_t *peers)
{
    fprintf(out, "\n%-37s%-5s%-10s%-8s%-8s%-8s%-11s%-11s%s\n", "PEER", "LINK", "TRANSPORT",
            "QUEUED", "UNACKED", "UNREAD", "OUT", "IN", "ADDRESS");
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *peer = json_array_get(peers, i);

        table_member(out, peer, "id", 37);
        table_text(out, json_is_true(json_object_get(peer, "up")) ? "up" : "down", 5);
        table_member(out, peer, "transport", 10);
        fprintf(out, "%-8lld%-8lld%-8lld%-11lld%-11lld", table_number(peer, "queued"),
                table_number(peer, "unacked"), table_number(peer, "unread"),
                table_number(peer, "messages_out"), table_number(peer, "messages_in"));
        table_member(out, peer, "address", 0);
        putc('\n', out);
    }
}

void nqi_stats_table(FILE *out, const json_t *document, bool peers)
{
    table_head(out, document);
    table_stats(out, json_object_get(document, "stats"));
    table_transports(out, json_object_get(document, "transports"));
    if (peers)
        table_peers(out, json_object_get(document, "peers"));
}

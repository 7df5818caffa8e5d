/* Written by hand into a buffer: jansson would want memory for each number, inside the loop. */
#include "core/queue_report.h"

#include "core/log.h"
#include "core/utf8.h"
#include <inttypes.h>
#include <netqueue/netqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- JSON ------------------------------------------------------------------------------- */

static void out_text(struct nqi_wbuf *out, const char *text)
{
    nqi_wbuf_bytes(out, text, strlen(text));
}

static void out_quoted(struct nqi_wbuf *out, const char *text)
{
    char hex[8];

    nqi_wbuf_u8(out, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f) {
            snprintf(hex, sizeof(hex), "\\u%04x", c);
            out_text(out, hex);
            continue;
        }
        if (c == '"' || c == '\\')
            nqi_wbuf_u8(out, '\\');
        nqi_wbuf_u8(out, c);
    }
    nqi_wbuf_u8(out, '"');
}

/* Transports and the system wrote it: it may be in any encoding. */
static void out_string(struct nqi_wbuf *out, const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    char escaped[1024];

    if (nqi_utf8_is(at, at + strlen(text)))
        out_quoted(out, text);
    else
        out_quoted(out, nqi_log_escape(text, escaped, sizeof(escaped)));
}

/* `name` with what stands before it: ", " or "". */
static void out_name(struct nqi_wbuf *out, const char *before, const char *name)
{
    out_text(out, before);
    out_quoted(out, name);
    out_text(out, ": ");
}

static void out_number(struct nqi_wbuf *out, const char *before, const char *name, uint64_t number)
{
    char text[24];

    out_name(out, before, name);
    snprintf(text, sizeof(text), "%" PRIu64, number);
    out_text(out, text);
}

static void out_member(struct nqi_wbuf *out, const char *before, const char *name, const char *text)
{
    out_name(out, before, name);
    out_string(out, text);
}

static void out_truth(struct nqi_wbuf *out, const char *name, bool truth)
{
    out_name(out, ", ", name);
    out_text(out, truth ? "true" : "false");
}

static void out_uuid(struct nqi_wbuf *out, const char *before, const nq_uuid *id)
{
    char text[NQ_UUID_TEXT];

    out_member(out, before, "id", nq_uuid_format(id, text));
}

/* ---- counters --------------------------------------------------------------------------- */

const char *nqi_report_reason(unsigned reason)
{
    static const char *const words[] = {
        "none",       "queue_full",  "no_peer",   "peer_closed",  "link_lost",
        "timed_out",  "local_close", "protocol",  "refused",      "duplicate",
        "version",    "limit",       "no_memory", "disconnected", "transport",
        "no_session", "expired",     "identity",  "auth",         "wire",
    };

    static_assert(NQI_LEN(words) == NQ_REASONS, "in the order of the reasons");
    return words[reason];
}

static const char *report_health(unsigned state)
{
    return nq_health_text((nq_health_state)state);
}

#define FIELD(field)                                               \
    {                                                              \
        .name = #field, .offset = offsetof(struct nq_stats, field) \
    }

const struct nqi_report_field nqi_report_fields[] = {
    FIELD(messages_out),
    FIELD(bytes_out),
    FIELD(messages_in),
    FIELD(bytes_in),
    FIELD(delivered),
    FIELD(not_delivered),
    FIELD(unknown),
    FIELD(cancelled),
    FIELD(dropped),
    FIELD(expired),
    FIELD(handed),
    {"dropped_by", offsetof(struct nq_stats, dropped_by), nqi_report_reason, NQ_REASONS},
    FIELD(queued),
    FIELD(queued_bytes),
    FIELD(unacked),
    FIELD(unread),
    FIELD(unread_bytes),
    FIELD(peers),
    FIELD(links),
    FIELD(connects),
    FIELD(refusals),
    FIELD(events_lost),
    FIELD(turns),
    FIELD(sleeps),
    FIELD(kicks),
    FIELD(spins_paid),
    FIELD(spins_lost),
    FIELD(keeper_ticks),
    FIELD(keeper_turns),
    FIELD(send_calls),
    FIELD(recv_calls),
    FIELD(pool_bytes),
    FIELD(shared_bytes),
    {"health", offsetof(struct nq_stats, health), report_health, NQ_HEALTHS},
};

const size_t nqi_report_nfields = NQI_LEN(nqi_report_fields);

static uint64_t report_count(const struct nq_stats *stats, const struct nqi_report_field *field,
                             unsigned i)
{
    uint64_t count;

    memcpy(&count, (const char *)stats + field->offset + i * sizeof(count), sizeof(count));
    return count;
}

static void report_field(struct nqi_wbuf *out, const char *before, const struct nq_stats *stats,
                         const struct nqi_report_field *field)
{
    if (!field->place) {
        out_number(out, before, field->name, report_count(stats, field, 0));
        return;
    }
    out_name(out, before, field->name);
    out_text(out, "{");
    for (unsigned i = 0; i < field->places; i++)
        out_number(out, i ? ", " : "", field->place(i), report_count(stats, field, i));
    out_text(out, "}");
}

/* ---- pieces ----------------------------------------------------------------------------- */

static void report_head(const struct nqi_report *report, struct nqi_wbuf *out)
{
    static const char *const modes[] = {"auto", "thread", "manual"}; /* enum nqi_progress */
    nq_queue *queue = report->queue;
    const struct nqi_conf *conf = queue->conf;
    struct nq_stats stats;

    out_member(out, "{", "netqueue", "stats");
    out_number(out, ", ", "format", NQI_REPORT_FORMAT);
    out_member(out, ", ", "version", nq_version());
    out_number(out, ", ", "pid", (uint64_t)getpid());
    out_uuid(out, ", ", &conf->id);
    out_member(out, ", ", "purpose", conf->server ? "server" : "client");
    out_member(out, ", ", "progress", modes[conf->mode]);
    out_truth(out, "closing", atomic_load(&queue->closing));
    out_number(out, ", ", "uptime_ns", (uint64_t)(nqi_now() - report->opened));
    out_name(out, ",\n", "stats");
    if (nq_stats(queue, &stats))
        memset(&stats, 0, sizeof(stats)); /* only in a forked child, which drives no loop */
    for (size_t i = 0; i < nqi_report_nfields; i++)
        report_field(out, i ? ", " : "{", &stats, &nqi_report_fields[i]);
    out_name(out, "},\n", "transports");
    out_text(out, "[");
}

static void report_transport(const struct nqi_report *report, size_t i, struct nqi_wbuf *out)
{
    struct nq_health_info info;

    nqi_queue_show_health(report->queue, i, &info);
    out_member(out, i ? ",\n{" : "\n{", "transport", info.transport);
    out_member(out, ", ", "state", nq_health_text(info.state));
    out_number(out, ", ", "since_ns", (uint64_t)info.since_ns);
    out_number(out, ", ", "connects", info.connects);
    out_number(out, ", ", "failures", info.failures);
    out_member(out, ", ", "text", info.text);
    out_text(out, "}");
}

static void report_peer(const struct nqi_report *report, size_t i, struct nqi_wbuf *out)
{
    struct nq_peer_info info;

    nqi_queue_show_peer(report->queue, report->peers[i], &info);
    out_uuid(out, i ? ",\n{" : "\n{", &info.id);
    out_truth(out, "up", info.up);
    out_member(out, ", ", "transport", info.transport);
    out_member(out, ", ", "address", info.address);
    out_member(out, ", ", "wire", info.wire);
    out_number(out, ", ", "queued", info.queued);
    out_number(out, ", ", "queued_bytes", info.queued_bytes);
    out_number(out, ", ", "unacked", info.unacked);
    out_number(out, ", ", "unread", info.unread);
    out_number(out, ", ", "messages_out", info.messages_out);
    out_number(out, ", ", "bytes_out", info.bytes_out);
    out_number(out, ", ", "messages_in", info.messages_in);
    out_number(out, ", ", "bytes_in", info.bytes_in);
    out_text(out, "}");
}

/* Piece number `piece`.  @return false: it is the last one */
static bool report_piece(const struct nqi_report *report, size_t piece, struct nqi_wbuf *out)
{
    size_t ntransports = report->queue->neps;

    if (piece == 0) {
        report_head(report, out);
        return true;
    }
    piece--;
    if (piece < ntransports) {
        report_transport(report, piece, out);
        return true;
    }
    piece -= ntransports;
    if (piece == 0) {
        out_name(out, "],\n", "peers");
        out_text(out, "[");
        return true;
    }
    piece--;
    if (piece < report->npeers) {
        report_peer(report, piece, out);
        return true;
    }
    out_text(out, "]}\n");
    return false;
}

bool nqi_report_fill(struct nqi_report *report, struct nqi_wbuf *out)
{
    bool more = true;

    while (more && nqi_wbuf_left(out) >= NQI_REPORT_ROOM)
        more = report_piece(report, report->next++, out);
    assert(!out->bad);
    return more;
}

nq_err nqi_report_open(struct nqi_report *report, nq_queue *queue, int64_t opened)
{
    struct nqi_report fresh = {.queue = queue, .opened = opened};
    nq_err err = nqi_queue_list(queue, &fresh.peers, &fresh.npeers);

    if (!err)
        *report = fresh;
    return err;
}

void nqi_report_fini(struct nqi_report *report)
{
    if (report->peers)
        nqi_queue_unlist(report->peers, report->npeers);
    *report = (struct nqi_report){0};
}

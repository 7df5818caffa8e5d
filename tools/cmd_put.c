/* netqueue put: files, lines or standard input into a queue.
 *
 * A window of puts is in flight; the oldest is waited for when it is full.  Everything
 * blocking is done in slices, so that Ctrl-C and the time-out are noticed. */
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/json.h"
#include "tools/opts.h"
#include "tools/peers.h"
#include "tools/progress.h"
#include "tools/say.h"
#include "tools/signals.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Puts in flight: enough that the queue never runs dry, and less than the default limits
 * of a queue, so that a policy that drops finds nothing to drop. */
#define PUT_WINDOW 4096
#define PUT_WINDOW_BYTES (UINT64_C(32) << 20)
#define PUT_SAID 100 /* failures that are printed one by one */

/* One put in flight. */
struct put_part {
    nq_future *future; /* owned */
    const char *name;  /* of the input; borrowed */
    uint64_t line;     /* of the input; 0 = all of it */
    uint64_t size;     /* bytes */
};

struct put {
    /* options */
    const char *config;
    struct nqi_texts to;
    int64_t timeout_ns;
    uint64_t wait_peers;
    bool lines, json, recursive, quiet;

    nq_queue *queue;
    nq_uuid *peers; /* from --to; owned */
    size_t npeers;
    struct nqi_inputs inputs;
    struct nqi_news news;
    struct nqi_progress progress;

    /* puts in flight: the oldest is parts[head % PUT_WINDOW] */
    struct put_part parts[PUT_WINDOW];
    size_t head, tail;
    uint64_t inflight; /* bytes */

    /* progress that the time-out looks for */
    int64_t moved_ns;
    uint64_t moved_mark;

    /* results */
    uint64_t messages, bytes, delivered, failed;
    char *failures; /* for --json: list elements; owned by `failures_out` */
    size_t failures_len;
    FILE *failures_out;
    bool timed_out, broken;
    int code; /* the first failure that is not about one message */
};

/* ---- when to stop ------------------------------------------------------------------------- */

static void put_show(struct put *put, const struct nq_stats *stats)
{
    uint64_t copies = put->npeers > 1 ? put->npeers : 1;

    nqi_progress_show(&put->progress, stats->bytes_out, put->inputs.bytes * copies,
                      stats->messages_out);
}

/* True when the command is to end now: interrupted, broken, or nothing moved for the whole
 * time-out. */
static bool put_stopped(struct put *put)
{
    struct nq_stats stats;
    int64_t now = nqi_now_ns();
    uint64_t mark;

    if (nqi_interrupted() || put->timed_out || put->broken)
        return true;
    if (nq_stats(put->queue, &stats) != NQ_OK)
        return false;
    put_show(put, &stats);
    mark = stats.bytes_out + stats.messages_out + stats.delivered + stats.not_delivered +
           stats.unknown + stats.connects;
    if (mark != put->moved_mark) {
        put->moved_mark = mark;
        put->moved_ns = now;
    }
    put->timed_out = put->timeout_ns >= 0 && now - put->moved_ns > put->timeout_ns;
    return put->timed_out;
}

/* How long one wait may take: a slice, or what is left of the time-out. */
static int64_t put_slice(const struct put *put)
{
    int64_t left = put->moved_ns + put->timeout_ns - nqi_now_ns() + NQI_NS_PER_MS;

    if (put->timeout_ns < 0 || left > NQI_SLICE_NS)
        return NQI_SLICE_NS;
    return left > 0 ? left : 0;
}

/* ---- what became of it -------------------------------------------------------------------- */

static void put_failure(struct put *put, const struct put_part *part, const nq_uuid *peer,
                        const char *outcome, const char *reason)
{
    char line[32] = "", to[NQ_UUID_TEXT + 4] = "", id[NQ_UUID_TEXT];
    const char *name = part->name ? part->name : "standard input";

    put->failed++;
    if (put->failures_out) {
        fprintf(put->failures_out, "%s{\"name\": ", put->failed > 1 ? ", " : "");
        nqi_json_text(put->failures_out, part->name);
        if (part->line)
            fprintf(put->failures_out, ", \"line\": %llu", (unsigned long long)part->line);
        fprintf(put->failures_out, ", \"peer\": ");
        nqi_json_text(put->failures_out, peer ? nq_uuid_format(peer, id) : NULL);
        fprintf(put->failures_out, ", \"outcome\": ");
        nqi_json_text(put->failures_out, outcome);
        fprintf(put->failures_out, ", \"reason\": ");
        nqi_json_text(put->failures_out, reason);
        putc('}', put->failures_out);
    }
    if (put->failed > PUT_SAID)
        return;
    if (part->line)
        snprintf(line, sizeof(line), " line %llu", (unsigned long long)part->line);
    if (peer)
        snprintf(to, sizeof(to), " to %s", nq_uuid_format(peer, id));
    nqi_say("%s%s%s: %s%s%s", name, line, to, outcome, *reason ? ": " : "", reason);
}

/* The outcomes of a settled future, peer by peer when there are several. */
static void put_account(struct put *put, const struct put_part *part)
{
    nq_reason reason = NQ_REASON_NONE;
    nq_outcome outcome = nq_future_outcome(part->future, &reason);
    size_t n = nq_future_peers(part->future, NULL, 0);
    nq_uuid *peers;

    if (outcome == NQ_DELIVERED) {
        put->delivered += n ? n : 1;
        return;
    }
    peers = n > 0 ? calloc(n, sizeof(*peers)) : NULL;
    if (!peers) {
        put_failure(put, part, NULL, nq_outcome_text(outcome), nq_reason_text(reason));
        return;
    }
    n = nq_future_peers(part->future, peers, n);
    for (size_t i = 0; i < n; i++) {
        if (nq_future_peer_outcome(part->future, &peers[i], &outcome, &reason) != NQ_OK)
            continue;
        if (outcome == NQ_DELIVERED)
            put->delivered++;
        else
            put_failure(put, part, &peers[i], nq_outcome_text(outcome), nq_reason_text(reason));
    }
    free(peers);
}

/* Wait for the oldest put.  @return false when the command is to end */
static bool put_settle(struct put *put, int64_t wait_ns)
{
    struct put_part *part = &put->parts[put->head % PUT_WINDOW];

    while (nq_future_wait(part->future, wait_ns) != NQ_OK) {
        if (put_stopped(put))
            return false;
        wait_ns = put_slice(put);
    }
    put_account(put, part);
    nq_future_free(part->future);
    put->inflight -= part->size;
    put->head++;
    return true;
}

/* Account for those at the head that are settled already. */
static void put_reap(struct put *put)
{
    while (put->head != put->tail &&
           nq_future_poll(put->parts[put->head % PUT_WINDOW].future) == NQ_OK)
        (void)put_settle(put, 0);
}

/* ---- sending ------------------------------------------------------------------------------ */

/* Wait until there is room for `size` bytes more; a larger message goes alone. */
static bool put_make_room(struct put *put, uint64_t size)
{
    put_reap(put);
    while (put->head != put->tail &&
           (put->tail - put->head == PUT_WINDOW || put->inflight + size > PUT_WINDOW_BYTES))
        if (!put_settle(put, put_slice(put)))
            return false;
    return !put_stopped(put);
}

/* The queue is full: wait for the oldest put, or if it is full of others', a little. */
static bool put_wait_room(struct put *put)
{
    if (put->head != put->tail)
        return put_settle(put, put_slice(put));
    nqi_news_read(&put->news, put->queue, 10 * NQI_NS_PER_MS);
    return !put_stopped(put);
}

/* Put `msg`, which is taken in any case, to one peer or (NULL) to where messages go. */
static void put_message(struct put *put, nq_msg *msg, const nq_uuid *peer, struct put_part part)
{
    nq_err err = NQ_AGAIN;

    part.size = nq_msg_size(msg);
    put->messages++;
    put->bytes += part.size;
    if (put_make_room(put, part.size)) {
        do
            err = nq_put(put->queue, msg, peer, peer ? 1 : 0, &part.future);
        while (err == NQ_AGAIN && put_wait_room(put));
    }
    if (err == NQ_OK) {
        put->inflight += part.size;
        put->parts[put->tail++ % PUT_WINDOW] = part;
        return;
    }
    put_failure(put, &part, peer, nq_outcome_text(NQ_NOT_DELIVERED),
                err == NQ_AGAIN         ? nq_reason_text(NQ_REASON_LOCAL_CLOSE)
                : err == NQ_ERR_NO_PEER ? nq_reason_text(NQ_REASON_NO_PEER)
                                        : nq_error());
    nq_msg_free(msg);
}

static void put_no_memory(struct put *put)
{
    put->broken = true;
    put->code = nqi_say_error(NQ_ERR_NOMEM);
}

/* To each of several peers by itself: one whose queue is full is waited for, and the chunks
 * are shared all the same.  Takes `msg`. */
static void put_to_each(struct put *put, nq_msg *msg, const nq_uuid *peers, size_t n,
                        const struct put_part *part)
{
    for (size_t i = 0; i < n && !put_stopped(put); i++) {
        nq_msg *copy = NULL;

        if (nq_msg_copy(msg, &copy) != NQ_OK) {
            put_no_memory(put);
            break;
        }
        put_message(put, copy, &peers[i], *part);
    }
    nq_msg_free(msg);
}

/* Send to those named with --to, else to whoever is there.  Takes `msg`. */
static void put_send(struct put *put, nq_msg *msg, const char *name, uint64_t line)
{
    struct put_part part = {.name = name, .line = line};
    nq_uuid *up = NULL;
    size_t n = 0;

    if (put->npeers) {
        put_to_each(put, msg, put->peers, put->npeers, &part);
        return;
    }
    if (nqi_peers_up(put->queue, &up, &n) != NQ_OK)
        put_no_memory(put);
    if (n > 1)
        put_to_each(put, msg, up, n, &part);
    else
        put_message(put, msg, NULL, part);
    free(up);
}

static void put_whole(struct put *put, const struct nqi_input *input)
{
    nq_msg *msg = NULL;
    int err = nqi_files_read(input->path, &msg);

    if (err) {
        if (err != -EINTR) /* said at the end */
            nqi_say_errno(input->path, -err);
        put->inputs.incomplete = true;
        return;
    }
    if (input->name && nq_msg_set_meta(msg, "name", input->name, strlen(input->name)) != NQ_OK) {
        nqi_say("%s: the name is too long to be sent", input->path);
        put->inputs.incomplete = true;
        nq_msg_free(msg);
        return;
    }
    put_send(put, msg, input->path, 0);
}

static void put_line(struct put *put, const char *name, uint64_t number, const char *text,
                     size_t len)
{
    nq_msg *msg = NULL;

    if (len && text[len - 1] == '\n')
        len--;
    if (nq_msg_new(text, len, &msg) != NQ_OK)
        put_no_memory(put);
    else
        put_send(put, msg, name, number);
}

static void put_lines(struct put *put, const struct nqi_input *input)
{
    bool standard = strcmp(input->path, "-") == 0;
    FILE *in = standard ? stdin : fopen(input->path, "re");
    uint64_t number = 0;
    char *text = NULL;
    size_t cap = 0;
    ssize_t len;

    if (!in) {
        nqi_say_errno(input->path, errno);
        put->inputs.incomplete = true;
        return;
    }
    while (!put_stopped(put) && (len = getline(&text, &cap, in)) >= 0) {
        put_line(put, input->path, ++number, text, (size_t)len);
        put->moved_ns = nqi_now_ns(); /* waiting for the next line is no time-out */
    }
    if (ferror(in) && !nqi_interrupted()) {
        nqi_say_errno(input->path, errno);
        put->inputs.incomplete = true;
    }
    free(text);
    if (!standard)
        fclose(in);
}

/* ---- waiting for peers ---------------------------------------------------------------------- */

static bool put_all_up(const struct put *put, const nq_uuid *up, size_t n)
{
    for (size_t i = 0; i < put->npeers; i++) {
        size_t j = 0;

        while (j < n && !nq_uuid_equal(&put->peers[i], &up[j]))
            j++;
        if (j == n)
            return false;
    }
    return n >= put->wait_peers;
}

static bool put_wait_peers(struct put *put)
{
    for (;;) {
        nq_uuid *up = NULL;
        size_t n = 0;
        bool enough;

        if (nqi_peers_up(put->queue, &up, &n) != NQ_OK)
            put_no_memory(put);
        enough = up && put_all_up(put, up, n);
        free(up);
        if (enough)
            return true;
        if (put_stopped(put))
            return false;
        nqi_progress_note(&put->progress, put->news.text[0] ? put->news.text : "connecting");
        nqi_news_read(&put->news, put->queue, put_slice(put));
    }
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void put_settle_all(struct put *put)
{
    while (put->head != put->tail && put_settle(put, put_slice(put)))
        continue;
}

/* Close; whatever was still in flight is settled after that. */
static void put_close(struct put *put)
{
    bool stopped = put_stopped(put);
    nq_err err;

    nqi_news_read(&put->news, put->queue, 0);
    err = nq_close(put->queue, NQI_FLUSH_NS, NULL);
    if (err < 0)
        put->code = nqi_say_error(err);
    nqi_progress_wipe();
    while (put->head != put->tail) {
        struct put_part *part = &put->parts[put->head++ % PUT_WINDOW];

        if (nq_future_wait(part->future, stopped ? 0 : NQI_FLUSH_NS) != NQ_OK)
            put_failure(put, part, NULL, nq_outcome_text(NQ_UNKNOWN),
                        nq_reason_text(NQ_REASON_LOCAL_CLOSE));
        else
            put_account(put, part);
        nq_future_free(part->future);
    }
}

static int put_code(const struct put *put)
{
    if (nqi_interrupted())
        return NQI_EXIT_INTERRUPTED;
    if (put->code)
        return put->code;
    if (put->timed_out)
        return NQI_EXIT_LINK;
    return put->failed || put->inputs.incomplete ? NQI_EXIT_FAILED : NQI_EXIT_OK;
}

static void put_say(const struct put *put)
{
    if (put->failed > PUT_SAID)
        nqi_say("and %llu more", (unsigned long long)(put->failed - PUT_SAID));
    if (nqi_interrupted())
        nqi_say("interrupted: %llu of %llu messages were delivered",
                (unsigned long long)put->delivered, (unsigned long long)put->messages);
    else if (put->timed_out)
        nqi_say("time-out: nothing moved for %.3g s%s%s", (double)put->timeout_ns / 1e9,
                put->news.text[0] ? "; " : "", put->news.text);
}

static void put_json(struct put *put, double seconds)
{
    fflush(put->failures_out);
    printf("{\"messages\": %llu, \"bytes\": %llu, \"delivered\": %llu, \"not_delivered\": %llu, "
           "\"seconds\": %.6f, \"failures\": [%s]}\n",
           (unsigned long long)put->messages, (unsigned long long)put->bytes,
           (unsigned long long)put->delivered, (unsigned long long)put->failed, seconds,
           put->failures);
}

static void put_run(struct put *put)
{
    if (!put_wait_peers(put))
        return;
    for (size_t i = 0; i < put->inputs.n && !put_stopped(put); i++) {
        if (put->lines)
            put_lines(put, &put->inputs.items[i]);
        else
            put_whole(put, &put->inputs.items[i]);
    }
    put_settle_all(put);
}

static int put_open(struct put *put)
{
    nq_err err;

    put->failures_out = put->json ? open_memstream(&put->failures, &put->failures_len) : NULL;
    if (put->json && !put->failures_out)
        return nqi_say_error(NQ_ERR_NOMEM);
    err = nq_open(put->config, &put->queue);
    if (err != NQ_OK)
        return nqi_say_error(err);
    return -1;
}

static int put_all(struct put *put)
{
    int64_t began = nqi_now_ns();
    int code = put_open(put);

    if (code >= 0)
        return code;
    nqi_progress_init(&put->progress, put->quiet);
    put->moved_ns = began;
    put_run(put);
    put_close(put);
    put_say(put);
    if (put->json)
        put_json(put, (double)(nqi_now_ns() - began) / 1e9);
    return put_code(put);
}

/* ---- the command line ------------------------------------------------------------------------ */

static int put_parse_peers(struct put *put)
{
    put->peers = put->to.n ? calloc(put->to.n, sizeof(*put->peers)) : NULL;
    if (put->to.n && !put->peers)
        return nqi_say_error(NQ_ERR_NOMEM);
    for (size_t i = 0; i < put->to.n; i++)
        if (nq_uuid_parse(put->to.items[i], &put->peers[i]) != NQ_OK)
            return nqi_opts_bad("--to: \"%s\" is not a UUID", put->to.items[i]);
    put->npeers = put->to.n;
    return -1;
}

static int put_parse(struct put *put, int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "put -c FILE [OPTION]... [FILE...|-]",
        "Sends each FILE, or standard input (\"-\", or no FILE), as one message, with the file's\n"
        "name. A client sends to its server, a server to all clients that are there. Ends when\n"
        "everything is acknowledged.",
        NULL,
    };
    const struct nqi_opt opts[] = {
        {"config", "FILE", "the configuration file", &put->config, NQI_OPT_TEXT, 'c'},
        {"lines", NULL, "send each line as one message, without its newline", &put->lines,
         NQI_OPT_FLAG, 'l'},
        {"recursive", NULL, "send the files in directories, named by their path\nbelow it",
         &put->recursive, NQI_OPT_FLAG, 'r'},
        {"to", "UUID", "send to this peer; may be given several times", &put->to, NQI_OPT_TEXTS,
         't'},
        {"timeout", "DUR", "give up when nothing moves for so long (30s)", &put->timeout_ns,
         NQI_OPT_DURATION, 0},
        {"wait-peers", "N", "first wait until N peers are connected (1)", &put->wait_peers,
         NQI_OPT_COUNT, 'w'},
        {"quiet", NULL, "no progress bar", &put->quiet, NQI_OPT_FLAG, 'q'},
        {"json", NULL,
         "print one JSON object at the end: messages, bytes,\ndelivered, "
         "not_delivered, seconds, failures",
         &put->json, NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (!put->config)
        return nqi_opts_bad("-c FILE is missing");
    return put_parse_peers(put);
}

static void put_freep(struct put **ret)
{
    struct put *put = *ret;

    if (!put)
        return;
    nq_free(put->queue);
    nqi_inputs_fini(&put->inputs);
    nqi_texts_fini(&put->to);
    free(put->peers);
    if (put->failures_out)
        fclose(put->failures_out);
    free(put->failures);
    free(put);
}

int nqi_cmd_put(int argc, char **argv)
{
    NQI_CLEANUP(put_freep) struct put *put = calloc(1, sizeof(*put));
    int code;

    if (!put)
        return nqi_say_error(NQ_ERR_NOMEM);
    put->timeout_ns = 30 * NQI_NS_PER_S;
    put->wait_peers = 1;
    code = put_parse(put, argc, argv);
    if (code >= 0)
        return code;
    nqi_signals_install();
    if (!nqi_inputs_list(argv + optind, argc - optind, put->recursive, &put->inputs))
        return nqi_say_error(NQ_ERR_NOMEM);
    if (put->inputs.n == 0 && put->inputs.incomplete)
        return NQI_EXIT_FAILED;
    return put_all(put);
}

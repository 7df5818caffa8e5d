/* netqueue put: files, lines or standard input into a queue.
 *
 * A window of puts is in flight; the oldest is waited for when it is full.  Everything
 * blocking is done in slices, so that Ctrl-C and the time-out are noticed. */
#include "tools/files.h"
#include "tools/json.h"
#include "tools/put.h"
#include "tools/say.h"
#include "tools/signals.h"
#include "tools/values.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_no_memory(struct nqi_put *put)
{
    put->broken = true;
    put->code = nqi_say_error(NQ_ERR_NOMEM);
}

/* To each of several peers by itself: one whose queue is full is waited for, and the chunks
 * are shared all the same.  Takes `msg`. */
static void put_to_each(struct nqi_put *put, nq_msg *msg, const nq_uuid *peers, size_t n,
                        const struct nqi_put_part *part)
{
    for (size_t i = 0; i < n && !nqi_put_stopped(put); i++) {
        nq_msg *copy = NULL;

        if (nq_msg_copy(msg, &copy) != NQ_OK) {
            put_no_memory(put);
            break;
        }
        nqi_put_message(put, copy, &peers[i], *part);
    }
    nq_msg_free(msg);
}

/* Look again who is there, now and then: not for each of a million lines. */
static void put_look_for_peers(struct nqi_put *put)
{
    int64_t now = nqi_now_ns();
    nq_uuid *up = NULL;
    size_t n = 0;

    if (put->up && now - put->up_ns < NQI_SLICE_NS)
        return;
    if (nqi_peers_up(put->queue, &up, &n) != NQ_OK) {
        put_no_memory(put);
        return;
    }
    free(put->up);
    put->up = up;
    put->nup = n;
    put->up_ns = now;
}

/* Send to those named with --to, else to whoever is there.  Takes `msg`. */
static void put_send(struct nqi_put *put, nq_msg *msg, const char *name, uint64_t line)
{
    struct nqi_put_part part = {.name = name, .line = line};

    if (!put->npeers)
        put_look_for_peers(put);
    if (put->npeers)
        put_to_each(put, msg, put->peers, put->npeers, &part);
    else if (put->nup > 1)
        put_to_each(put, msg, put->up, put->nup, &part);
    else
        nqi_put_message(put, msg, NULL, part);
}

/* With --value, what the JSON in `*msg` stands for takes its place.  @return false: it is no JSON,
 * which is said, and `*msg` is gone */
static bool put_pack(struct nqi_put *put, const char *name, uint64_t line, nq_msg **msg)
{
    nq_msg *packed = NULL;
    char at[32] = "";
    nq_err err;

    if (!put->value)
        return true;
    err = nqi_value_pack(put->value, *msg, &packed);
    nq_msg_free(*msg);
    *msg = packed;
    if (err == NQ_OK)
        return true;
    if (line)
        snprintf(at, sizeof(at), " line %llu", (unsigned long long)line);
    nqi_progress_wipe();
    nqi_say("%s%s: %s", strcmp(name, "-") == 0 ? "standard input" : name, at, nq_error());
    put->inputs.incomplete = true;
    return false;
}

static void put_whole(struct nqi_put *put, const struct nqi_input *input)
{
    nq_msg *msg = NULL;
    int err = nqi_files_read(input->path, &msg);

    if (err) {
        if (err != -EINTR) /* said at the end */
            nqi_say_errno(input->path, -err);
        put->inputs.incomplete = true;
        return;
    }
    if (!put_pack(put, input->path, 0, &msg))
        return;
    if (input->name && nq_msg_set_meta(msg, "name", input->name, strlen(input->name)) != NQ_OK) {
        nqi_say("%s: the name is too long to be sent", input->path);
        put->inputs.incomplete = true;
        nq_msg_free(msg);
        return;
    }
    put_send(put, msg, input->path, 0);
}

static void put_line(struct nqi_put *put, const char *name, uint64_t number, const char *text,
                     size_t len)
{
    nq_msg *msg = NULL;

    if (len && text[len - 1] == '\n')
        len--;
    if (nq_msg_new(text, len, &msg) != NQ_OK)
        put_no_memory(put);
    else if (put_pack(put, name, number, &msg))
        put_send(put, msg, name, number);
}

static void put_lines(struct nqi_put *put, const struct nqi_input *input)
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
    while (!nqi_put_stopped(put) && (len = getline(&text, &cap, in)) >= 0) {
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

static bool put_all_up(const struct nqi_put *put, const nq_uuid *up, size_t n)
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

static bool put_wait_peers(struct nqi_put *put)
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
        if (nqi_put_stopped(put))
            return false;
        nqi_progress_note(&put->progress, put->news.text[0] ? put->news.text : "connecting");
        nqi_news_read(&put->news, put->queue, nqi_put_slice(put));
    }
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static int put_code(const struct nqi_put *put)
{
    if (nqi_interrupted())
        return NQI_EXIT_INTERRUPTED;
    if (put->code)
        return put->code;
    if (put->timed_out)
        return NQI_EXIT_LINK;
    return put->failed || put->inputs.incomplete ? NQI_EXIT_FAILED : NQI_EXIT_OK;
}

/* Whole files that were not even read count, lines do not: nobody knows how many there are. */
static uint64_t put_asked(const struct nqi_put *put)
{
    uint64_t whole = put->lines ? 0 : put->inputs.n * (put->npeers > 1 ? put->npeers : 1);

    return whole > put->messages ? whole : put->messages;
}

static void put_say(const struct nqi_put *put)
{
    if (put->failed > NQI_PUT_SAID)
        nqi_say("and %llu more", (unsigned long long)(put->failed - NQI_PUT_SAID));
    if (nqi_interrupted() || put->timed_out)
        nqi_say("%s: %llu of %llu messages were delivered",
                nqi_interrupted() ? "interrupted" : "time-out", (unsigned long long)put->delivered,
                (unsigned long long)put_asked(put));
}

static void put_json(struct nqi_put *put, double seconds)
{
    fflush(put->failures_out);
    printf("{\"messages\": %llu, \"bytes\": %llu, \"delivered\": %llu, \"handed\": %llu, "
           "\"not_delivered\": %llu, "
           "\"seconds\": %.6f, \"failures\": [%s]}\n",
           (unsigned long long)put->messages, (unsigned long long)put->bytes,
           (unsigned long long)put->delivered, (unsigned long long)put->handed,
           (unsigned long long)put->failed, seconds, put->failures);
}

static void put_run(struct nqi_put *put)
{
    if (!put_wait_peers(put))
        return;
    for (size_t i = 0; i < put->inputs.n && !nqi_put_stopped(put); i++) {
        if (put->lines)
            put_lines(put, &put->inputs.items[i]);
        else
            put_whole(put, &put->inputs.items[i]);
    }
    nqi_put_settle_all(put);
}

static int put_open(struct nqi_put *put)
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

static int put_all(struct nqi_put *put)
{
    int64_t began = nqi_now_ns();
    int code = put_open(put);

    if (code >= 0)
        return code;
    nqi_progress_init(&put->progress, put->quiet);
    put->moved_ns = began;
    put_run(put);
    nqi_put_close(put);
    put_say(put);
    if (put->json)
        put_json(put, (double)(nqi_now_ns() - began) / 1e9);
    return put_code(put);
}

/* ---- the command line ------------------------------------------------------------------------ */

static int put_parse_peers(struct nqi_put *put)
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

static int put_parse(struct nqi_put *put, int argc, char **argv)
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
        {"value", "json|pickle",
         "the input is JSON: send such a value of it, with\n--lines of each line", &put->value,
         NQI_OPT_TEXT, 0},
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
         "handed, not_delivered, seconds, failures",
         &put->json, NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (!put->config)
        return nqi_opts_bad("-c FILE is missing");
    if (put->value && !nqi_value_is_kind(put->value))
        return nqi_opts_bad("--value: \"%s\" is neither json nor pickle", put->value);
    return put_parse_peers(put);
}

static void put_freep(struct nqi_put **ret)
{
    struct nqi_put *put = *ret;

    if (!put)
        return;
    nq_free(put->queue);
    nqi_inputs_fini(&put->inputs);
    nqi_texts_fini(&put->to);
    free(put->peers);
    free(put->up);
    if (put->failures_out)
        fclose(put->failures_out);
    free(put->failures);
    free(put);
}

int nqi_cmd_put(int argc, char **argv)
{
    NQI_CLEANUP(put_freep) struct nqi_put *put = calloc(1, sizeof(*put));
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

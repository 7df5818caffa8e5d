/* netqueue get: messages out of a queue, to standard output or into a directory.
 *
 * What was received has been acknowledged and exists nowhere else: therefore an orderly
 * end also takes out what is still in the queue. */
#include "tools/files.h"
#include "tools/json.h"
#include "tools/opts.h"
#include "tools/peers.h"
#include "tools/progress.h"
#include "tools/say.h"
#include "tools/signals.h"
#include "tools/values.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GET_BATCH 64 /* messages taken at once */

struct get {
    /* options */
    const char *config, *output;
    const char *value; /* the kind of value that messages carry; NULL = bytes */
    uint64_t count;    /* 0 = no limit */
    int64_t timeout_ns;
    bool lines, json, quiet;

    nq_queue *queue;
    int dir; /* -1 = standard output */
    struct nqi_news news;
    struct nqi_progress progress;

    /* results */
    uint64_t messages, bytes, stored;
    uint64_t number; /* of the last file that was named by number */
    bool refused;    /* a name could not be used, or a message was no such value */
    int code;        /* the first failure; ends the command */
};

/* ---- one message --------------------------------------------------------------------------- */

static void get_fail(struct get *get, const char *what, int err)
{
    nqi_say_errno(what, -err);
    get->code = NQI_EXIT_FAILED;
}

/* Under a number of our own.  @param file [out] the name that was free */
static void get_store_number(struct get *get, nq_msg *msg, char file[40])
{
    int err;

    do {
        snprintf(file, 40, "%llu.bin", (unsigned long long)++get->number);
        err = nqi_files_store(get->dir, file, strlen(file), msg, NQI_STORE_NEW);
    } while (err == -EEXIST);
    if (err)
        get_fail(get, file, err);
}

/* True when the name is to blame for `err`, not the disk. */
static bool get_name_failed(int err)
{
    return err == -ELOOP || err == -ENOTDIR || err == -EISDIR || err == -ENAMETOOLONG ||
           err == -EINVAL || err == -EILSEQ || err == -ENOTEMPTY || err == -EEXIST;
}

/* Under the sender's name, or when that cannot be, under a number.
 * @return the name if it was used, else `file` */
static const char *get_store(struct get *get, nq_msg *msg, const char *name, size_t len,
                             char file[40])
{
    const char *fault = nqi_files_name_fault(name, len);
    int err = 0;

    if (!fault) {
        err = nqi_files_store(get->dir, name, len, msg, NQI_STORE_REPLACE);
        if (!err)
            return name;
        if (!get_name_failed(err)) {
            get_fail(get, "cannot store a file", err);
            return name;
        }
        fault = strerror(-err);
    }
    get->refused = true;
    get_store_number(get, msg, file);
    nqi_say("the name \"%.*s\" is refused (%s); stored as %s", len > 255 ? 255 : (int)len, name,
            fault, file);
    return file;
}

static void get_json(const struct get *get, const nq_msg *msg, uint64_t size, const char *name,
                     size_t len, const char *file, size_t file_len)
{
    FILE *out = get->dir < 0 ? stderr : stdout;

    fprintf(out,
            "{\"number\": %llu, \"bytes\": %llu, \"from\": ", (unsigned long long)get->messages,
            (unsigned long long)size);
    nqi_json_uuid(out, nq_msg_sender(msg));
    fprintf(out, ", \"name\": ");
    if (name)
        nqi_json_bytes(out, name, len);
    else
        fputs("null", out);
    if (file) {
        fprintf(out, ", \"file\": ");
        nqi_json_bytes(out, file, file_len);
    }
    fprintf(out, "}\n");
}

static void get_print(struct get *get, nq_msg *msg)
{
    int err = nqi_files_write(STDOUT_FILENO, msg);

    if (!err && (get->lines || get->value) && write(STDOUT_FILENO, "\n", 1) != 1)
        err = -errno;
    if (err)
        get_fail(get, "standard output", err);
}

/* As JSON.  What is no such value is said, and the next is printed all the same. */
static void get_print_value(struct get *get, nq_msg *msg)
{
    char from[NQ_UUID_TEXT];
    nq_msg *text = NULL;

    if (nqi_value_unpack(get->value, msg, &text) == NQ_OK) {
        get_print(get, text);
        nq_msg_free(text);
        return;
    }
    get->refused = true;
    nqi_say("message %llu, from %s: %s", (unsigned long long)get->messages,
            nq_uuid_format(nq_msg_sender(msg), from), nq_error());
}

static void get_message(struct get *get, nq_msg *msg)
{
    uint64_t size = nq_msg_size(msg);
    const char *name = NULL, *file = NULL;
    const void *meta = NULL;
    char number[40] = "";
    size_t len = 0;

    get->messages++;
    get->bytes += size;
    if (nq_msg_meta(msg, "name", &meta, &len) == NQ_OK)
        name = meta ? meta : "";
    if (get->value) {
        get_print_value(get, msg);
    } else if (get->dir < 0) {
        get_print(get, msg);
    } else if (name) {
        file = get_store(get, msg, name, len, number);
    } else {
        get_store_number(get, msg, number);
        file = number;
    }
    if (get->code)
        return;
    get->stored++;
    if (get->json)
        get_json(get, msg, size, name, len, file, file == name ? len : strlen(number));
}

/* Frees all of them, also those that a failure leaves unhandled. */
static void get_messages(struct get *get, nq_msg **msgs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!get->code)
            get_message(get, msgs[i]);
        nq_msg_free(msgs[i]);
    }
    nqi_progress_show(&get->progress, get->bytes, 0, get->messages);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static bool get_done(const struct get *get)
{
    return get->code || (get->count && get->messages >= get->count);
}

static size_t get_want(const struct get *get)
{
    uint64_t left = get->count - get->messages;

    return get->count && left < GET_BATCH ? (size_t)left : GET_BATCH;
}

/* Until all came, nothing came for too long, or Ctrl-C.  @return true on a time-out */
static bool get_receive(struct get *get)
{
    int64_t since = nqi_now_ns();

    while (!get_done(get) && !nqi_interrupted()) {
        int64_t left = get->timeout_ns < 0 ? INT64_MAX : since + get->timeout_ns - nqi_now_ns();
        nq_msg *msgs[GET_BATCH];
        size_t n = 0;
        nq_err err;

        left = left < 0 ? 0 : left;
        err = nq_get_many(get->queue, msgs, get_want(get),
                          left < NQI_SLICE_NS ? left : NQI_SLICE_NS, &n);
        if (err == NQ_OK) {
            get_messages(get, msgs, n);
            since = nqi_now_ns();
        } else if (err == NQ_END) {
            return false;
        } else if (err < 0) {
            get->code = nqi_say_error(err);
        } else if (left == 0) {
            return true;
        } else if (get->messages == 0) {
            nqi_news_read(&get->news, get->queue, 0);
            nqi_progress_note(&get->progress, get->news.text[0] ? get->news.text : "waiting");
        } else {
            nqi_progress_show(&get->progress, get->bytes, 0, get->messages);
        }
    }
    return false;
}

/* Close, and take out what was received meanwhile: all of it, unless a number was asked for. */
static void get_close(struct get *get)
{
    struct nq_close_report report = {0};
    nq_msg *msgs[GET_BATCH];
    size_t n = 0;
    nq_err err;

    nqi_news_read(&get->news, get->queue, 0);
    err = nq_close(get->queue, NQI_FLUSH_NS, &report);
    if (err < 0)
        get->code = nqi_say_error(err);
    while (err >= 0 && !get_done(get) &&
           nq_get_many(get->queue, msgs, get_want(get), 0, &n) == NQ_OK) {
        get_messages(get, msgs, n);
        report.unread -= report.unread < n ? report.unread : n;
    }
    nqi_progress_wipe();
    if (report.unread)
        nqi_say("%llu more messages were received and are lost; \"ack\": \"consumed\" in the "
                "configuration lets the sender know",
                (unsigned long long)report.unread);
}

static int get_code(struct get *get, bool timed_out)
{
    bool short_of = get->count ? get->messages < get->count : get->messages == 0;

    if (get->code)
        return get->code;
    if (nqi_interrupted() && !(get->count && !short_of))
        return NQI_EXIT_INTERRUPTED;
    if (timed_out && short_of) {
        nqi_say("time-out: %llu messages came%s%s", (unsigned long long)get->messages,
                get->news.text[0] ? "; " : "", get->news.text);
        return NQI_EXIT_LINK;
    }
    return get->refused ? NQI_EXIT_FAILED : NQI_EXIT_OK;
}

static int get_open(struct get *get)
{
    nq_err err;

    if (get->output && strcmp(get->output, "-") != 0) {
        int code = nqi_files_open_dir(get->output, &get->dir);

        if (code) {
            nqi_say_errno(get->output, -code);
            return NQI_EXIT_FAILED;
        }
    }
    err = nq_open(get->config, &get->queue);
    return err == NQ_OK ? -1 : nqi_say_error(err);
}

static int get_all(struct get *get)
{
    /* A bar between the lines of a text on the same terminal helps nobody. */
    bool mixed = get->dir < 0 && isatty(STDOUT_FILENO);
    bool timed_out;

    nqi_progress_init(&get->progress, get->quiet || mixed);
    timed_out = get_receive(get);
    get_close(get);
    return get_code(get, timed_out);
}

/* ---- the command line ------------------------------------------------------------------------ */

static int get_parse(struct get *get, int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "get -c FILE [OPTION]...",
        "Receives messages and writes them to standard output, or with -o into a directory,\n"
        "under the names that the senders gave. A name never leads out of the directory: one\n"
        "that would is refused, and the message stored as NUMBER.bin like one without a name.",
        "Without -n the command goes on until Ctrl-C or the time-out, which is a success when\n"
        "at least one message came.",
    };
    const struct nqi_opt opts[] = {
        {"config", "FILE", "the configuration file", &get->config, NQI_OPT_TEXT, 'c'},
        {"output", "DIR", "store messages as files in DIR; \"-\" = standard output", &get->output,
         NQI_OPT_TEXT, 'o'},
        {"count", "N", "end after N messages", &get->count, NQI_OPT_COUNT, 'n'},
        {"lines", NULL, "print a newline after each message", &get->lines, NQI_OPT_FLAG, 'l'},
        {"value", "json|pickle", "messages are such values: print each as JSON, in a line",
         &get->value, NQI_OPT_TEXT, 0},
        {"timeout", "DUR", "end when no whole message came for so long (forever)", &get->timeout_ns,
         NQI_OPT_DURATION, 0},
        {"quiet", NULL, "no progress bar", &get->quiet, NQI_OPT_FLAG, 'q'},
        {"json", NULL,
         "print a JSON object for each message: number, bytes,\nfrom, name, file; "
         "on standard error when messages go\nto standard output",
         &get->json, NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);
    bool to_dir = get->output && strcmp(get->output, "-") != 0;

    if (code >= 0)
        return code;
    if (!get->config)
        return nqi_opts_bad("-c FILE is missing");
    if (optind < argc)
        return nqi_opts_bad("unexpected operand \"%s\"", argv[optind]);
    if (get->lines && to_dir)
        return nqi_opts_bad("--lines is for standard output, -o DIR stores files as they are");
    if (get->value && to_dir)
        return nqi_opts_bad("--value is for standard output, -o DIR stores files as they are");
    if (get->value && !nqi_value_is_kind(get->value))
        return nqi_opts_bad("--value: \"%s\" is neither json nor pickle", get->value);
    return -1;
}

int nqi_cmd_get(int argc, char **argv)
{
    struct get get = {.dir = -1, .timeout_ns = NQ_FOREVER};
    int code = get_parse(&get, argc, argv);

    if (code >= 0)
        return code;
    nqi_signals_install();
    code = get_open(&get);
    if (code < 0)
        code = get_all(&get);
    nq_free(get.queue);
    if (get.dir >= 0)
        close(get.dir);
    return code;
}

/* netqueue check: every problem of a configuration file, with its place in the file; and with
 * --connect, whether its transports can do what the file asks of them.
 *
 *     nq_check() -> problems -> (none) open -> wait until the peer is there, or all listen ->
 * health */
#include "tools/json.h"
#include "tools/opts.h"
#include "tools/say.h"
#include "tools/signals.h"
#include <getopt.h>
#include <string.h>

struct check {
    const char *file;
    bool json, connect;
    int64_t timeout_ns;
    unsigned long problems;
};

#define CHECK_TRANSPORTS 16 /* so many are shown */

static void check_problem(void *arg, const char *path, const char *text)
{
    struct check *check = arg;

    check->problems++;
    if (!check->json) {
        printf("%s: %s%s%s\n", check->file, path, *path ? ": " : "", text);
        return;
    }
    printf("%s{\"path\": ", check->problems > 1 ? ", " : "");
    nqi_json_text(stdout, path);
    printf(", \"text\": ");
    nqi_json_text(stdout, text);
    putchar('}');
}

/* What the library says of the whole file.  Its name is printed before it, and said once. */
static void check_failure(struct check *check, nq_err err)
{
    const char *text = nq_error();
    size_t len = strlen(check->file);

    if (strncmp(text, check->file, len) == 0 && strncmp(text + len, ": ", 2) == 0)
        text += len + 2;
    check_problem(check, "", *text ? text : nq_strerror(err));
}

/* ---- --connect -------------------------------------------------------------------------- */

/* How it went. */
struct check_health {
    struct nq_health_info infos[CHECK_TRANSPORTS];
    size_t n;
    bool peer;               /* a client's server is there */
    struct nq_event up;      /* ... and how; a server has none */
    struct nq_event refused; /* the last refusal; kind 0: there was none */
};

/* A server's, all of which are to listen. */
static bool check_all_ready(const struct check_health *health)
{
    for (size_t i = 0; i < health->n; i++)
        if (health->infos[i].state != NQ_HEALTH_READY)
            return false;
    return true;
}

static nq_err check_look(nq_queue *queue, struct check_health *health)
{
    nq_err err = nq_health(queue, health->infos, CHECK_TRANSPORTS, &health->n);

    if (health->n > CHECK_TRANSPORTS)
        health->n = CHECK_TRANSPORTS;
    return err;
}

/* Wait for events, since they tell of whatever may change it, until all is well or time is up.  A
 * client has a peer from the beginning, a server none. */
static nq_err check_wait(nq_queue *queue, int64_t timeout_ns, struct check_health *health)
{
    int64_t until = nqi_now_ns() + timeout_ns, left;
    struct nq_event event;
    size_t peers;
    bool server;
    nq_err err = nq_peers(queue, NULL, 0, &peers);

    server = !peers;
    while (err == NQ_OK || err == NQ_AGAIN) {
        err = check_look(queue, health);
        left = timeout_ns == NQ_FOREVER ? NQI_SLICE_NS : until - nqi_now_ns();
        if (err || left <= 0 || nqi_interrupted() ||
            (server ? check_all_ready(health) : health->peer))
            break;
        err = nq_event_get(queue, left < NQI_SLICE_NS ? left : NQI_SLICE_NS, &event);
        if (err == NQ_OK && event.kind == NQ_EVENT_PEER_UP) {
            health->peer = true;
            health->up = event;
        } else if (err == NQ_OK && event.kind == NQ_EVENT_REFUSED) {
            health->refused = event;
        }
    }
    health->peer |= server && check_all_ready(health);
    return err;
}

static void check_show(const struct check *check, const struct check_health *health)
{
    for (size_t i = 0; i < health->n; i++) {
        const struct nq_health_info *info = &health->infos[i];

        if (!check->json) {
            printf("%s: %s: %s%s%s\n", check->file, info->transport, nq_health_text(info->state),
                   info->text[0] ? ": " : "", info->text);
            continue;
        }
        printf("%s{\"transport\": ", i ? ", " : "");
        nqi_json_text(stdout, info->transport);
        printf(", \"health\": \"%s\", \"text\": ", nq_health_text(info->state));
        nqi_json_text(stdout, info->text);
        printf(", \"connects\": %llu, \"failures\": %llu}", (unsigned long long)info->connects,
               (unsigned long long)info->failures);
    }
}

/* Why a client did not get through, where its transports may all be well: somebody answered. */
static const char *check_refusal(const struct check_health *health)
{
    const struct nq_event *refused = &health->refused;

    if (health->peer || !refused->kind)
        return NULL;
    return refused->text[0] ? refused->text : nq_reason_text(refused->reason);
}

static bool check_health_says(const struct check_health *health, const char *text)
{
    for (size_t i = 0; i < health->n; i++)
        if (strcmp(health->infos[i].text, text) == 0)
            return true;
    return false;
}

/* Over which transport, and why not over the first one; or why not at all, unless a transport's
 * own line says the same. */
static void check_show_choice(const struct check *check, const struct check_health *health)
{
    const char *refusal = check_refusal(health);

    if (check->json) {
        printf("], \"over\": ");
        nqi_json_text(stdout, health->up.transport);
        printf(", \"connected\": %s, \"refused\": ", health->peer ? "true" : "false");
        nqi_json_text(stdout, refusal ? refusal : "");
        printf(", \"transports\": [");
    } else if (health->up.transport[0]) {
        printf("%s: connected over %s: %s\n", check->file, health->up.transport, health->up.text);
    } else if (refusal && !check_health_says(health, refusal)) {
        printf("%s: refused: %s\n", check->file, refusal);
    }
}

static int check_connect(struct check *check)
{
    NQI_CLEANUP(nqi_queue_freep) nq_queue *queue = NULL;
    struct check_health health = {.n = 0};
    nq_err err;

    nqi_signals_install();
    err = nq_open(check->file, &queue);
    if (err == NQ_OK)
        err = check_wait(queue, check->timeout_ns, &health);
    if (err < 0)
        check_failure(check, err);
    check_show_choice(check, &health);
    check_show(check, &health);
    if (err < 0)
        return NQI_EXIT_FAILED;
    if (health.peer && nq_close(queue, NQI_FLUSH_NS, NULL) < 0)
        return NQI_EXIT_FAILED;
    return nqi_interrupted() ? NQI_EXIT_INTERRUPTED : health.peer ? NQI_EXIT_OK : NQI_EXIT_LINK;
}

/* ---- the file --------------------------------------------------------------------------- */

static int check_file(struct check *check)
{
    int code = NQI_EXIT_OK;
    nq_err err;

    if (check->json) {
        printf("{\"file\": ");
        nqi_json_text(stdout, check->file);
        printf(", \"problems\": [");
    }
    err = nq_check(check->file, check_problem, check);
    if (err != NQ_OK && check->problems == 0)
        check_failure(check, err);
    if (check->connect && err == NQ_OK)
        code = check_connect(check);
    else if (check->problems)
        code = NQI_EXIT_FAILED;
    if (check->json)
        printf("]}\n");
    if (err == NQ_ERR_SYS || err == NQ_ERR_NOMEM)
        return NQI_EXIT_CONFIG;
    if (err != NQ_OK)
        return NQI_EXIT_FAILED;
    if (!check->json && !check->connect && !check->problems)
        printf("%s: no problems\n", check->file);
    return code;
}

int nqi_cmd_check(int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "check -c FILE [--json] [--connect]",
        "Prints every problem of a configuration file with its place in the file. The\n"
        "transports that the file names are loaded; no connection is opened unless\n"
        "--connect asks for it.",
        NULL,
    };
    struct check check = {.timeout_ns = 10 * NQI_NS_PER_S};
    const struct nqi_opt opts[] = {
        {"config", "FILE", "the configuration file", &check.file, NQI_OPT_TEXT, 'c'},
        {"json", NULL, "print one JSON object: file, problems (path, text)", &check.json,
         NQI_OPT_FLAG, 0},
        {"connect", NULL, "then connect to the server (a server: listen), and say how it went",
         &check.connect, NQI_OPT_FLAG, 0},
        {"timeout", "DUR", "with --connect: give up after this time (10s)", &check.timeout_ns,
         NQI_OPT_DURATION, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (!check.file && optind + 1 == argc) /* the only thing it can mean */
        check.file = argv[optind++];
    if (!check.file)
        return nqi_opts_bad("-c FILE is missing");
    if (optind < argc)
        return nqi_opts_bad("unexpected operand \"%s\"", argv[optind]);
    return check_file(&check);
}

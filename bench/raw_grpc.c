/* The measure for netqueue over grpc: the least that a C program can do with the gRPC core.
 *
 *   rtt     one message there and back
 *   oneway  one gRPC message a message, from one constant buffer that the library refers to; the
 *           receiver adds lengths up and reads nothing
 *
 * One call, both directions, one completion queue a process and nobody else in it: the thread that
 * measures is the one that gRPC wakes.  Channel and server have gRPC's defaults, without a limit of
 * the message. */
#include "report.h"
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <stdio.h>
#include <string.h>

#define RAW_METHOD "/bench/raw"

enum raw_tag { RAW_CALL = 1, RAW_OPEN, RAW_OVER, RAW_SEND, RAW_RECV, RAW_TAGS };

struct raw_end {
    const struct bench_opts *opts;
    grpc_completion_queue *cq;
    grpc_call *call;
    bool is[RAW_TAGS]; /* completed, and not looked at yet */
    grpc_byte_buffer *in, *out;
    grpc_metadata_array initial, trailing;
    grpc_call_details details;
    grpc_status_code status;
    grpc_slice why;
    int cancelled;
};

static void *raw_tag(enum raw_tag tag)
{
    return (void *)(uintptr_t)tag;
}

/* ---- waiting ---------------------------------------------------------------------------- */

static grpc_event raw_next(struct raw_end *end)
{
    const struct bench_opts *opts = end->opts;
    int64_t until = opts->wait == BENCH_ADAPTIVE ? bench_now_ns() + opts->spin_ns : 0;

    for (;;) {
        bool look = opts->wait == BENCH_SPIN || (until && bench_now_ns() < until);
        grpc_event event = grpc_completion_queue_next(
            end->cq, look ? gpr_inf_past(GPR_CLOCK_MONOTONIC) : gpr_inf_future(GPR_CLOCK_MONOTONIC),
            NULL);

        if (event.type != GRPC_QUEUE_TIMEOUT)
            return event;
    }
}

static void raw_await(struct raw_end *end, enum raw_tag tag)
{
    while (!end->is[tag]) {
        grpc_event event = raw_next(end);
        uintptr_t came = (uintptr_t)event.tag;

        if (event.type != GRPC_OP_COMPLETE || came >= RAW_TAGS)
            bench_die("gRPC", "the queue ended");
        if (!event.success || came == RAW_OVER)
            bench_die("gRPC", "the call ended early");
        end->is[came] = true;
    }
    end->is[tag] = false;
}

static void raw_start(struct raw_end *end, const grpc_op *ops, size_t n, enum raw_tag tag)
{
    if (grpc_call_start_batch(end->call, ops, n, raw_tag(tag), NULL) != GRPC_CALL_OK)
        bench_die("gRPC", "an operation was refused");
}

/* ---- operations ------------------------------------------------------------------------- */

/* The library takes the bytes out of the message, which is destroyed when it was sent. */
static void raw_send(struct raw_end *end, grpc_byte_buffer *message)
{
    const grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = message};

    raw_start(end, &op, 1, RAW_SEND);
    raw_await(end, RAW_SEND);
    grpc_byte_buffer_destroy(message);
}

static grpc_byte_buffer *raw_message(const struct bench_opts *opts, const char *payload)
{
    grpc_slice slice = grpc_slice_from_static_buffer(payload, opts->size);

    return grpc_raw_byte_buffer_create(&slice, 1);
}

static void raw_recv(struct raw_end *end)
{
    const grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &end->in};

    raw_start(end, &op, 1, RAW_RECV);
}

/* The message that came; the next one is asked for. */
static grpc_byte_buffer *raw_take(struct raw_end *end)
{
    grpc_byte_buffer *message;

    raw_await(end, RAW_RECV);
    message = end->in;
    if (!message || grpc_byte_buffer_length(message) != end->opts->size)
        bench_die("message", "lost, or of a wrong size");
    end->in = NULL;
    raw_recv(end);
    return message;
}

/* ---- the two ends ----------------------------------------------------------------------- */

static void raw_init(struct raw_end *end, const struct bench_opts *opts)
{
    memset(end, 0, sizeof(*end));
    end->opts = opts;
    grpc_init();
    end->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_metadata_array_init(&end->initial);
    grpc_metadata_array_init(&end->trailing);
    grpc_call_details_init(&end->details);
}

static grpc_arg raw_no_limit(void)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                      .value.integer = -1};
}

static void raw_serve(struct raw_end *end, int fd)
{
    grpc_arg arg = raw_no_limit();
    const grpc_channel_args args = {1, &arg};
    grpc_server *server = grpc_server_create(&args, NULL);
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    const grpc_op open = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    const grpc_op over = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                          .data.recv_close_on_server.cancelled = &end->cancelled};
    int port;

    grpc_server_register_completion_queue(server, end->cq, NULL);
    port = grpc_server_add_http2_port(server, "127.0.0.1:0", creds);
    if (port <= 0)
        bench_die("gRPC", "cannot listen");
    grpc_server_start(server);
    bench_tell(fd, &port, sizeof(port));
    if (grpc_server_request_call(server, &end->call, &end->details, &end->initial, end->cq, end->cq,
                                 raw_tag(RAW_CALL)) != GRPC_CALL_OK)
        bench_die("gRPC", "no call");
    raw_await(end, RAW_CALL);
    raw_start(end, &over, 1, RAW_OVER);
    raw_start(end, &open, 1, RAW_OPEN);
    raw_await(end, RAW_OPEN);
    raw_recv(end);
}

static void raw_dial(struct raw_end *end, int fd)
{
    grpc_arg arg = raw_no_limit();
    const grpc_channel_args args = {1, &arg};
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    const grpc_op over = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                          .data.recv_status_on_client = {.trailing_metadata = &end->trailing,
                                                         .status = &end->status,
                                                         .status_details = &end->why}};
    const grpc_op open[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &end->initial},
    };
    grpc_channel *channel;
    char target[64];
    int port;

    bench_hear(fd, &port, sizeof(port));
    snprintf(target, sizeof(target), "ipv4:127.0.0.1:%d", port);
    channel = grpc_channel_create(target, creds, &args);
    end->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, end->cq,
                                         grpc_slice_from_static_string(RAW_METHOD), NULL,
                                         gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    raw_start(end, &over, 1, RAW_OVER);
    raw_start(end, open, 2, RAW_OPEN);
    raw_await(end, RAW_OPEN);
    raw_recv(end);
}

/* ---- the jobs --------------------------------------------------------------------------- */

static void raw_peer(const struct bench_opts *opts, int fd, void *arg)
{
    const char *payload = bench_pages(opts->size);
    struct raw_end end;
    char done;

    (void)arg;
    raw_init(&end, opts);
    raw_dial(&end, fd);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        bench_due(opts, i, 1);
        raw_send(&end, opts->job == BENCH_RTT ? raw_take(&end) : raw_message(opts, payload));
    }
    bench_hear(fd, &done, 1); /* all of it has arrived */
}

static void raw_measure(struct raw_end *end, struct bench_result *result)
{
    const struct bench_opts *opts = end->opts;
    const char *payload = bench_pages(opts->size);
    int64_t start = 0, last = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        int64_t now;

        if (i == opts->warmup)
            start = last = bench_now_ns();
        if (opts->job == BENCH_RTT)
            raw_send(end, raw_message(opts, payload));
        grpc_byte_buffer_destroy(raw_take(end));
        bench_arrived(opts, result, i);
        if (opts->job != BENCH_RTT || i < opts->warmup)
            continue;
        now = bench_now_ns();
        bench_samples_add(result->samples, now - last);
        last = now;
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
}

int main(int argc, char **argv)
{
    static const char *const waits[] = {"sleep", "spin", "adaptive"};
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "raw_grpc"};
    struct bench_peer peer;
    struct raw_end end;

    bench_options(&opts, "raw_grpc", BENCH_OPT_WAIT | BENCH_OPT_PACED, argc, argv);
    peer = bench_peer_start(&opts, raw_peer, NULL); /* gRPC does not survive a fork */
    raw_init(&end, &opts);
    raw_serve(&end, peer.fd);
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    snprintf(result.settings, sizeof(result.settings), "%s, gRPC %s", waits[opts.wait],
             grpc_version_string());
    bench_cpu_start();
    raw_measure(&end, &result);
    bench_tell(peer.fd, "d", 1);
    bench_peer_wait(&peer);
    bench_print(&opts, &result);
    return 0;
}

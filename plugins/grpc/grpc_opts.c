/* Options: the table, their check, and what they become in channels and servers.  Small services of
 * the other files stand here as well. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define OPTS_STREAMS_MAX 1024        /* of one connection: a proxy may carry many clients in one */
#define OPTS_USER_TIMEOUT 20000      /* ms that the peer's system may leave bytes unacknowledged */
#define OPTS_NO_PING (INT32_MAX - 1) /* ms; INT32_MAX would switch that limit off as well */

const struct nqt_opt ngrpc_opt_table[NGRPC_OPTIONS] = {
    {.name = "host",
     .def = "127.0.0.1",
     .type = NQT_OPT_STR,
     .help = "Name or address of the server; a server listens on all addresses of it, "
             "on every address of the machine with \"*\""},
    {.name = "port",
     .def = "51967",
     .type = NQT_OPT_INT,
     .max = 65535,
     .help = "Port of the server; 0 lets a server choose a free one"},
    {.name = "connect_timeout",
     .def = "10s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = 1000000,
     .max = INT64_C(3600000000000),
     .help = "Time to find the host, to connect and to be answered; a server's patience with who "
             "makes no call"},
    {.name = "idle_timeout",
     .def = "60s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = 1000000,
     .max = INT64_C(86400000000000),
     .help = "A server's patience with a client of the wire \"net-queue\" that makes no call"},
    {.name = "message",
     .def = "1MiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .min = 1024,
     .max = NGRPC_MESSAGE_MAX,
     .help = "Bytes that are gathered into one gRPC message"},
    {.name = "send_queue",
     .def = "1MiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .min = 1024,
     .max = 1 << 30,
     .help = "Bytes that may wait for the message before them"},
    {.name = "memory",
     .def = "256MiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .min = 16 << 20,
     .max = INT64_C(1) << 40,
     .help = "Memory that gRPC may use for all connections of this transport"},
    {.name = "backlog",
     .def = "128",
     .type = NQT_OPT_INT,
     .min = 1,
     .max = 65535,
     .help = "Calls that may wait until the queue takes them"},
    NQT_TLS_OPTION_CA,
    NQT_TLS_OPTION_CERT,
    NQT_TLS_OPTION_KEY,
    NQT_TLS_OPTION_CRL,
    NQT_TLS_OPTION_NAME,
    {.name = "tls.version",
     .type = NQT_OPT_ENUM,
     .choices = nqt_tls_versions,
     .help =
         "The oldest version of TLS that is spoken: only 1.2 can be had, which it is when it is "
         "not set"},
    NQT_TLS_OPTION_UUID,
};

int ngrpc_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct ngrpc_opts *out,
                    struct nqt_error *err)
{
    int64_t port = 0, timeout = 0, idle = 0, message = 0, queue = 0, memory = 0, backlog = 0;
    const struct nqt_number all[] = {
        {"port", &port},         {"connect_timeout", &timeout}, {"message", &message},
        {"send_queue", &queue},  {"memory", &memory},           {"backlog", &backlog},
        {"idle_timeout", &idle},
    };
    struct ngrpc_opts opts = {.port = 0};
    int rc = nqt_cfg_text(host, cfg, "host", true, opts.host, sizeof(opts.host), err);

    if (!rc && opts.host[strcspn(opts.host, "/,%?#[]@ ")])
        rc = nqt_fail(err, NQT_E_CONFIG, "host: \"%s\" is no name and no address", opts.host);
    if (!rc)
        rc = nqt_cfg_numbers(host, cfg, all, sizeof(all) / sizeof(all[0]), err);
    if (!rc)
        rc = nqt_tls_opts_read(host, cfg, &opts.tls, err);
    if (rc)
        return rc;
    opts.port = (uint16_t)port;
    opts.connect_timeout_ns = timeout;
    opts.idle_timeout_ns = idle;
    if (host->cfg_int(cfg, NQT_FACT_WIRE, &opts.wire)) /* earlier cores know one only */
        opts.wire = NQT_WIRE_NATIVE;
    opts.message = (size_t)message;
    opts.send_queue = (size_t)queue;
    opts.memory = (size_t)memory;
    opts.backlog = (uint32_t)backlog;
    *out = opts;
    return NQT_OK;
}

/* ---- channel arguments ------------------------------------------------------------------ */

static grpc_arg opts_number(const char *key, int value)
{
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

static grpc_arg opts_text(const char *key, const char *text)
{
    return (grpc_arg){.type = GRPC_ARG_STRING,
                      .key = (char *)(uintptr_t)key,
                      .value.string = (char *)(uintptr_t)text};
}

static grpc_arg opts_quota(grpc_resource_quota *quota)
{
    return (grpc_arg){.type = GRPC_ARG_POINTER,
                      .key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
                      .value.pointer = {.p = quota, .vtable = grpc_resource_quota_arg_vtable()}};
}

/* Bounds what strangers can make gRPC allocate: its limit of a message counts only when the message
 * is there. */
static grpc_resource_quota *opts_quota_new(const struct ngrpc_opts *opts)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("netqueue");

    grpc_resource_quota_resize(quota, opts->memory);
    return quota;
}

static int opts_message_max(const struct ngrpc_opts *opts)
{
    return opts->wire == NQT_WIRE_NATIVE ? NGRPC_MESSAGE_MAX : NGRPC_PIECE_MAX;
}

static int opts_ms(int64_t ns)
{
    return (int)((ns + 999999) / 1000000);
}

grpc_channel *ngrpc_opts_channel(const struct ngrpc_opts *opts, const char *target,
                                 grpc_channel_credentials *creds)
{
    grpc_resource_quota *quota = opts_quota_new(opts);
    grpc_arg args[] = {
        opts_quota(quota),
        opts_number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, opts_message_max(opts)),
        opts_number(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        opts_number(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        opts_number(GRPC_ARG_ENABLE_RETRIES, 0),
        opts_number(GRPC_ARG_ENABLE_CHANNELZ, 0),
        opts_number(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0),
        opts_number(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
        opts_number(GRPC_ARG_KEEPALIVE_TIME_MS, OPTS_NO_PING),
        opts_number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, OPTS_USER_TIMEOUT),
        opts_text(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, opts->tls.name), /* the last one: may be "" */
    };
    const grpc_channel_args list = {sizeof(args) / sizeof(args[0]) - !*opts->tls.name, args};
    grpc_channel *channel = grpc_channel_create(target, creds, &list);

    grpc_resource_quota_unref(quota);
    return channel;
}

grpc_server *ngrpc_opts_server(const struct ngrpc_opts *opts)
{
    const int patience = opts_ms(opts->connect_timeout_ns), idle = opts_ms(opts->idle_timeout_ns);
    const bool rounds = opts->wire != NQT_WIRE_NATIVE && idle > patience;
    grpc_resource_quota *quota = opts_quota_new(opts);
    grpc_arg args[] = {
        opts_quota(quota),
        opts_number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, opts_message_max(opts)),
        opts_number(GRPC_ARG_MAX_CONCURRENT_STREAMS, OPTS_STREAMS_MAX),
        opts_number(GRPC_ARG_ALLOW_REUSEPORT, 0),
        opts_number(GRPC_ARG_ENABLE_CHANNELZ, 0),
        opts_number(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0),
        opts_number(GRPC_ARG_KEEPALIVE_TIME_MS, OPTS_NO_PING),
        opts_number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, OPTS_USER_TIMEOUT),
        /* Who says nothing, or makes no call: our clients have one as long as a connection, those
         * of the other wire when they have something to say or ask. */
        opts_number(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, patience),
        opts_number(GRPC_ARG_MAX_CONNECTION_IDLE_MS, rounds ? idle : patience),
    };
    const grpc_channel_args list = {sizeof(args) / sizeof(args[0]), args};
    grpc_server *server = grpc_server_create(&list, NULL);

    grpc_resource_quota_unref(quota);
    return server;
}

/* ---- small services --------------------------------------------------------------------- */

/* The host's clock is not there any more when some deadlines are looked at. */
int64_t ngrpc_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void ngrpc_address(char out[NGRPC_NAME_MAX], const char *host, unsigned port)
{
    snprintf(out, NGRPC_NAME_MAX, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

void ngrpc_peer_name(grpc_call *call, char out[NGRPC_NAME_MAX])
{
    char *uri = grpc_call_get_peer(call);
    const char *from = uri;
    size_t n = 0;

    if (!strncmp(from, "ipv4:", 5) || !strncmp(from, "ipv6:", 5))
        from += 5;
    for (; *from && n < NGRPC_NAME_MAX - 1; from++) {
        bool open = !strncasecmp(from, "%5B", 3), shut = !strncasecmp(from, "%5D", 3);

        out[n++] = open ? '[' : shut ? ']' : *from;
        if (open || shut)
            from += 2;
    }
    out[n] = '\0';
    gpr_free(uri);
}

/* Every key that the core knows.  A key is one row here and one field of struct nqi_conf, and
 * nothing else: checker, schema and reference page read the row. */
#include "core/conf_table.h"
#include "core/conf.h"
#include "core/value.h"
#include <string.h>

#define CONF_AT(field) \
    .offset = offsetof(struct nqi_conf, field), .width = sizeof(((struct nqi_conf *)NULL)->field)

#define CONF_KIB (INT64_C(1) << 10)
#define CONF_MIB (INT64_C(1) << 20)
#define CONF_TIB (INT64_C(1) << 40)
#define CONF_DAY (24 * 3600 * NQI_NS_PER_S)

/* In the order of the enums in conf.h; `purpose` of the bool `server`. */
static const char *const conf_purposes[] = {"client", "server", NULL};
static const char *const conf_policies[] = {"fail", "block", "drop_oldest", "drop_newest", NULL};
static const char *const conf_modes[] = {"auto", "thread", "manual", NULL};
static const char *const conf_acks[] = {"queued", "consumed", NULL};
static const char *const conf_wires[] = {"netqueue", "net-queue", "both", NULL};
static const char *const conf_serializers[] = {"bytes", "stream", "json", "pickle", "arrow", NULL};

const struct nqi_key nqi_keys[] = {
    {.opt = {.name = "/purpose",
             .type = NQT_OPT_ENUM,
             .choices = conf_purposes,
             .flags = NQT_OPT_REQUIRED,
             .help = "What this side is. A server listens on every transport; a client takes "
                     "the first one that works."},
     CONF_AT(server)},
    {.opt = {.name = "/id",
             .type = NQI_OPT_UUID,
             .help = "Name of this side, 36 characters. A name, never a credential. Without it "
                     "a new random one is made at each start; nil and all ones are refused."}},
    {.opt = {.name = "/transport",
             .type = NQI_OPT_NAME,
             .help = "Name of the only transport, with its options beside it: short for a list "
                     "of one in `transports`."}},
    {.opt = {.name = "/transports",
             .type = NQI_OPT_TRANSPORTS,
             .min = 1,
             .max = NQI_LIST_CAP,
             .help = "How to reach the other side, in order of preference."}},
    {.opt = {.name = NQI_CONF_ENTRY "/transport",
             .type = NQI_OPT_NAME,
             .flags = NQT_OPT_REQUIRED,
             .help = "Name of a transport. Its other keys are the transport's own options: "
                     "`netqueue transports NAME` lists them."}},
    {.opt = {.name = NQI_CONF_ENTRY "/wire",
             .type = NQT_OPT_ENUM,
             .choices = conf_wires,
             .help = "As `wire`, for this transport alone."}},
    {.opt = {.name = NQI_CONF_ENTRY "/psk",
             .type = NQT_OPT_PATH,
             .help = "As `psk` in `security`, for the links of this transport alone, and in place "
                     "of it."}},
    {.opt = {.name = NQI_CONF_ENTRY "/tls",
             .type = NQI_OPT_OBJECT,
             .help =
                 "That is, for a transport without options of this name. tcp, grpc and mqtt have "
                 "them: `netqueue transports tcp`."},
     .later = true},

    {.opt = {.name = "/queue",
             .type = NQI_OPT_OBJECT,
             .help = "The queue of messages that were put and not yet acknowledged, one for each "
                     "peer."}},
    {.opt = {.name = "/queue/messages",
             .type = NQT_OPT_INT,
             .def = "65536",
             .min = 1,
             .max = INT64_MAX,
             .flags = NQI_OPT_UNLIMITED,
             .unit = "messages",
             .help = "Most messages for one peer."},
     CONF_AT(queue_messages)},
    {.opt = {.name = "/queue/bytes",
             .type = NQT_OPT_SIZE,
             .def = "64MiB",
             .min = 1,
             .flags = NQI_OPT_UNLIMITED,
             .unit = "bytes",
             .help = "Most payload bytes for one peer. A larger message is admitted when it is "
                     "alone."},
     CONF_AT(queue_bytes)},
    {.opt = {.name = "/queue/policy",
             .type = NQT_OPT_ENUM,
             .def = "fail",
             .choices = conf_policies,
             .help = "What a put does when the queue is full: fail, wait for room (`block`), or "
                     "drop a message. Only the sender drops; what was given credit for is kept."},
     CONF_AT(policy)},

    {.opt = {.name = "/limits",
             .type = NQI_OPT_OBJECT,
             .help = "What strangers and large messages may cost."}},
    {.opt = {.name = "/limits/max_message",
             .type = NQT_OPT_SIZE,
             .def = "1GiB",
             .min = 1,
             .flags = NQI_OPT_UNLIMITED,
             .unit = "bytes",
             .help = "Largest payload, sent or received. Not more than `memory`; the default "
                     "follows a smaller `memory`."},
     CONF_AT(max_message)},
    {.opt = {.name = "/limits/memory",
             .type = NQT_OPT_SIZE,
             .def = "2GiB",
             .min = CONF_MIB,
             .flags = NQI_OPT_UNLIMITED,
             .unit = "bytes",
             .help = "Most memory for messages that are being received, of all peers together."},
     CONF_AT(memory)},
    {.opt = {.name = "/limits/peers",
             .type = NQT_OPT_INT,
             .def = "16384",
             .min = 1,
             .max = 1 << 20,
             .unit = "peers",
             .help = "Most clients that a server keeps a session with."},
     CONF_AT(max_peers)},
    {.opt = {.name = "/limits/strangers",
             .type = NQT_OPT_INT,
             .def = "256",
             .min = 1,
             .max = 1 << 16,
             .unit = "connections",
             .help = "Most connections to a server whose other side has not proven who it is. "
                     "One more ends the one that has been there for longest."},
     CONF_AT(strangers)},
    {.opt = {.name = "/limits/source_strangers",
             .type = NQT_OPT_INT,
             .def = "64",
             .min = 1,
             .max = 1 << 16,
             .flags = NQI_OPT_UNLIMITED,
             .unit = "connections",
             .help = "Most of those from one IPv4 address, or from one /64 of IPv6. Behind a "
                     "proxy all clients have its address: \"unlimited\"."},
     CONF_AT(source_strangers)},
    {.opt = {.name = "/limits/source_failures",
             .type = NQT_OPT_INT,
             .def = "600",
             .min = 1,
             .max = 100000,
             .flags = NQI_OPT_UNLIMITED,
             .unit = "attempts",
             .help = "Attempts to connect from one such address that may fail within a minute; "
                     "then what comes from there is closed unseen until some are forgiven. "
                     "Behind a proxy: \"unlimited\"."},
     CONF_AT(source_failures)},

    {.opt = {.name = "/session",
             .type = NQI_OPT_OBJECT,
             .help = "The conversation with one peer, which may outlive its connections."}},
    {.opt = {.name = "/session/keepalive",
             .type = NQT_OPT_DURATION,
             .def = "15s",
             .min = 100 * NQI_NS_PER_MS,
             .max = CONF_DAY,
             .flags = NQI_OPT_OFF,
             .unit = "ns",
             .help = "How long a link may be silent before it is asked for a sign of life; after "
                     "three times as long it is given up."},
     CONF_AT(keepalive_ns)},
    {.opt = {.name = "/session/expiry",
             .type = NQT_OPT_DURATION,
             .def = "300s",
             .max = CONF_DAY,
             .flags = NQI_OPT_OFF,
             .unit = "ns",
             .help = "How long a session without a link waits to be resumed; off: it ends with "
                     "its link."},
     CONF_AT(expiry_ns)},
    {.opt = {.name = "/session/linger",
             .type = NQT_OPT_DURATION,
             .def = "30s",
             .max = CONF_DAY,
             .flags = NQI_OPT_OFF,
             .unit = "ns",
             .help = "How long a closing side waits for the other one's good-bye."},
     CONF_AT(linger_ns)},
    {.opt = {.name = "/session/ack",
             .type = NQT_OPT_ENUM,
             .def = "queued",
             .choices = conf_acks,
             .help = "When this side acknowledges a message: when its queue holds it, or when "
                     "a get has returned it (`consumed`)."},
     CONF_AT(ack)},
    {.opt = {.name = "/session/resend",
             .type = NQT_OPT_BOOL,
             .def = "false",
             .help = "A client's: after a restart of the server, or when it has ended the session, "
                     "send again what it never acknowledged, marked as redelivered, instead of "
                     "settling it as unknown."},
     CONF_AT(resend)},
    {.opt = {.name = "/session/credit",
             .type = NQT_OPT_SIZE,
             .def = "64MiB",
             .min = 64 * CONF_KIB,
             .max = CONF_TIB,
             .unit = "bytes",
             .help = "Payload that one peer may have on its way to this side before it must wait."},
     CONF_AT(credit)},
    {.opt = {.name = "/session/record",
             .type = NQT_OPT_SIZE,
             .def = "1MiB",
             .min = 4 * CONF_KIB,
             .max = 16 * CONF_MIB,
             .unit = "bytes",
             .help = "Largest piece of a message that is handed to a transport at once; control "
                     "messages and acknowledgements pass between pieces."},
     CONF_AT(record)},
    {.opt = {.name = "/session/coalesce",
             .type = NQT_OPT_SIZE,
             .def = "64KiB",
             .max = 16 * CONF_MIB,
             .flags = NQI_OPT_OFF,
             .unit = "bytes",
             .help = "Bytes of small messages that leave together in one record when they wait "
                     "anyway. Not more than `record`; the default follows a smaller `record`."},
     CONF_AT(coalesce)},

    {.opt = {.name = "/progress",
             .type = NQI_OPT_OBJECT,
             .help = "Who drives the queue, and how threads wait."}},
    {.opt = {.name = "/progress/mode",
             .type = NQT_OPT_ENUM,
             .def = "auto",
             .choices = conf_modes,
             .help = "`auto`: blocked callers drive, a library thread when none does. `thread`: "
                     "always the library thread. `manual`: no thread at all, for programs with "
                     "an event loop of their own (`nq_fd()`, `nq_poll()`)."},
     CONF_AT(mode)},
    {.opt = {.name = "/progress/spin",
             .type = NQT_OPT_DURATION,
             .def = "auto",
             .max = NQI_NS_PER_S,
             .flags = NQI_OPT_AUTO | NQI_OPT_OFF,
             .unit = "ns",
             .help = "How long a waiting thread looks before it sleeps; auto measures what "
                     "pays."},
     CONF_AT(spin_ns)},
    {.opt = {.name = "/progress/workers",
             .type = NQT_OPT_INT,
             .def = "1",
             .min = 1,
             .max = 64,
             .unit = "loops",
             .help = "Event loops that a server spreads its links over."},
     CONF_AT(workers)},

    {.opt = {.name = "/security", .type = NQI_OPT_OBJECT, .help = "Who may connect."}},
    {.opt = {.name = "/security/psk",
             .type = NQT_OPT_PATH,
             .help = "File of pre-shared keys: who attaches proves that it has the other side's. "
                     "Readable for its owner only; docs/keys.md has its format."}},
    {.opt = {.name = "/security/insecure",
             .type = NQT_OPT_BOOL,
             .def = "false",
             .help = "Allow addresses other than loopback although neither TLS nor a key "
                     "protects the queue: whoever reaches the address may read and write."},
     CONF_AT(insecure)},

    {.opt = {.name = "/stats",
             .type = NQI_OPT_OBJECT,
             .help = "Where a running queue tells of itself: `netqueue stats` asks it."}},
    {.opt = {.name = "/stats/socket",
             .type = NQT_OPT_PATH,
             .help =
                 "Path of a unix socket, at most 107 bytes, which the queue makes when it opens "
                 "and removes when it closes. Its user and root may read counters, peers and "
                 "transports there. Each queue needs one of its own; docs/stats.md has more."}},

    {.opt = {.name = "/serializer",
             .type = NQT_OPT_ENUM,
             .def = "bytes",
             .choices = conf_serializers,
             .help = "What `nq_put_object()` and `nq_get_object()` make messages of; "
                     "docs/serializers.md has the types. Messages themselves are bytes."},
     CONF_AT(serializer)},
    {.opt = {.name = "/wire",
             .type = NQT_OPT_ENUM,
             .def = "netqueue",
             .choices = conf_wires,
             .help =
                 "The protocol spoken over the transports: this library's, or `net-queue`, that "
                 "of the Python library of this name; a server may speak `both`. "
                 "docs/interop.md has what the other one cannot do."},
     CONF_AT(wire)},
    {.opt = {.name = "/plugin_path",
             .type = NQT_OPT_LIST,
             .flags = NQI_OPT_ABSOLUTE,
             .help = "Absolute directories to look for transports in, before the built-in one."}},
};

const size_t nqi_nkeys = NQI_LEN(nqi_keys);

const struct nqi_key_alias nqi_key_aliases[] = {
    {"netloc", "\"host\" and \"port\" of a transport"},
    {"protocol", "\"transport\""},
    {"max_size", "\"record\" in \"session\""},
    {"transport_size", "\"record\" in \"session\""},
    {"merge_size", "\"coalesce\" in \"session\""},
    {"efficient_size", "\"coalesce\" in \"session\""},
    {"put_merge", "\"coalesce\" in \"session\""},
    {"message_size", "\"max_message\" in \"limits\""},
    {"queue_size", "\"messages\" in \"queue\""},
    {"drop_oldest", "\"policy\" in \"queue\""},
    {"transport_path", "\"plugin_path\""},
};

const size_t nqi_nkey_aliases = NQI_LEN(nqi_key_aliases);

const char *nqi_key_name(const struct nqi_key *key)
{
    return strrchr(key->opt.name, '/') + 1;
}

bool nqi_key_is_in(const struct nqi_key *key, const char *place)
{
    size_t len = strlen(place);

    return strncmp(key->opt.name, place, len) == 0 && key->opt.name + len + 1 == nqi_key_name(key);
}

const struct nqi_key *nqi_key_find(const char *place, const char *name)
{
    for (size_t i = 0; i < nqi_nkeys; i++)
        if (nqi_key_is_in(&nqi_keys[i], place) && strcmp(nqi_key_name(&nqi_keys[i]), name) == 0)
            return &nqi_keys[i];
    return NULL;
}

/* JSON -> checked options, from one key table.
 *
 * The table in conf_table.c is the source of the checker, of `netqueue check`, of
 * config/netqueue.schema.json and of the reference page.  Keys inside one entry of
 * "transports" come from the transport's own option table. */
#ifndef NQ_CORE_CONF_H
#define NQ_CORE_CONF_H

#include "core/base.h"
#include "core/keystore.h"
#include <netqueue/check.h>
#include <netqueue/transport.h>
#include <netqueue/uuid.h>

#define NQI_UNLIMITED UINT64_MAX
#define NQI_CIRCLE_QUEUE 1u /* of the keys in /security/psk */

enum nqi_policy {
    NQI_POLICY_FAIL,
    NQI_POLICY_BLOCK,
    NQI_POLICY_DROP_OLDEST,
    NQI_POLICY_DROP_NEWEST
};
enum nqi_progress { NQI_PROGRESS_AUTO, NQI_PROGRESS_THREAD, NQI_PROGRESS_MANUAL };
enum nqi_wire {
    NQI_WIRE_NATIVE = NQT_WIRE_NATIVE,
    NQI_WIRE_OLDER = NQT_WIRE_PLAIN,
    NQI_WIRE_BOTH = NQT_WIRE_BOTH
};
enum nqi_ack { NQI_ACK_QUEUED, NQI_ACK_CONSUMED };
enum nqi_serializer { /* in the order of the table in core/serializer.c */
                      NQI_SERIALIZER_BYTES,
                      NQI_SERIALIZER_STREAM,
                      NQI_SERIALIZER_JSON,
                      NQI_SERIALIZER_PICKLE,
                      NQI_SERIALIZER_ARROW
};

struct nqi_options; /* one transport's checked options: what nqt_cfg reads */

struct nqi_conf_transport {
    const struct nqt_module *module; /* NULL: a client does without it; see below */
    struct nqi_options *options;
    struct nqi_conf_absent *absent; /* without a module: owned */
    uint32_t circle;                /* which keys its links go by: 0 = none; NQI_CIRCLE_QUEUE; or
                                     * its own, and one number for one file */
    enum nqi_wire wire;
    bool certified;                /* a server's: it asks its clients for certificates */
    char *psk;                     /* of its own: the file's path, owned ... */
    struct nqi_keystore *keystore; /* ... and what is in it, owned; else NULL */
};

/* What a client's list names and this host does not have. */
struct nqi_conf_absent {
    char name[32];
    char why[192];
};

struct nqi_conf {
    bool server;
    nq_uuid id; /* random when the file names none */
    struct nqi_conf_transport *transports;
    size_t ntransports; /* at least 1 that has a module */
    bool brief;         /* one, whose keys stand at the root */

    /* queue */
    uint64_t queue_messages, queue_bytes; /* per peer; NQI_UNLIMITED */
    enum nqi_policy policy;
    /* limits */
    uint64_t max_message, memory; /* bytes; NQI_UNLIMITED */
    uint32_t max_peers;
    uint32_t strangers, source_strangers, source_failures; /* UINT32_MAX = unlimited */
    /* session */
    int64_t keepalive_ns, expiry_ns, linger_ns; /* 0 = off */
    uint64_t credit;                            /* bytes in flight from one peer to us */
    uint64_t record;                            /* payload bytes in one record */
    uint64_t coalesce; /* bytes of small messages that leave together; 0 = off */
    enum nqi_ack ack;
    bool resend;
    enum nqi_serializer serializer;
    enum nqi_wire wire; /* of transports that say nothing else */
    /* progress */
    enum nqi_progress mode;
    int64_t spin_ns; /* -1 = auto, 0 = off */
    uint32_t workers;
    /* security */
    bool insecure;
    bool keyed;                    /* a file of pre-shared keys is named */
    struct nqi_keystore *keystore; /* owned; of that; NULL = no keys */
    /* stats */
    char *stats_socket; /* a path; owned; NULL = none */
};

/* Answers with the module of that name, or NQ_ERR_PLUGIN with the reason in nq_error().
 * `paths` is the configuration's "plugin_path". */
typedef nq_err (*nqi_conf_module_fn)(const char *name, const char *const *paths, size_t npaths,
                                     const struct nqt_module **ret);

/* Read and check.  `path` NULL: `text`, `len` bytes, relative paths from the working
 * directory.  Each problem is given to `problem` (may be NULL); the first also becomes
 * nq_error().  A transport that cannot be loaded is a problem that a client with others gets
 * over: it is told of, and stands in the list without a module.  @param ret [out] owned, ends with
 * nqi_conf_free().
 * @return NQ_OK, NQ_ERR_CONFIG, NQ_ERR_PLUGIN, NQ_ERR_SYS, NQ_ERR_NOMEM. */
NQ_MUST_CHECK nq_err nqi_conf_load(const char *path, const char *text, size_t len,
                                   nqi_conf_module_fn module, nq_problem_fn problem, void *arg,
                                   struct nqi_conf **ret);
void nqi_conf_free(struct nqi_conf *conf);
void nqi_conf_transport_fini(struct nqi_conf_transport *transport);

/* What the slots cfg_int, cfg_str, cfg_list of struct nqt_host answer: 0 or NQT_E_CONFIG. */
int nqi_options_int(const struct nqi_options *options, const char *name, int64_t *ret);
int nqi_options_str(const struct nqi_options *options, const char *name, const char **ret);
int nqi_options_list(const struct nqi_options *options, const char *name, uint32_t i,
                     const char **ret);

#endif

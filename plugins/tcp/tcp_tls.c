/* Certificates and keys of an endpoint: from the options to an SSL_CTX, and again when the files
 * change.
 *
 * The files are looked at when a connection begins, at most once a second.  If one has another
 * inode, size or time, all are read; what does not fit leaves the old ones in force and is a line
 * in the log.  Links that are there keep what they began with: an SSL holds its SSL_CTX. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp_tls.h"
#include <netqueue/transport_tls.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define STORE_LOOK_NS INT64_C(1000000000)
#define STORE_FILES 4

/* Both versions have only ciphers that authenticate and have forward secrecy. */
#define STORE_CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"

static const unsigned char store_alpn[] = {3, 'n', 'q', '1'};

/* What tells whether a file is another one. */
struct store_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed, modified;
};

struct tcp_tls_store {
    BIO_METHOD *bio;
    pthread_mutex_t lock;
    /* under lock */
    SSL_CTX *ctx;
    int64_t looked_ns;
    struct store_stamp stamps[STORE_FILES];
};

/* ---- options ---------------------------------------------------------------------------- */

static const char *const store_versions[] = {"1.3", "1.2", NULL};

/* Each of the group turns TLS on, whatever it says: none may be taken for protection that is not
 * there. */
static bool store_is_on(const struct nqt_host *host, nqt_cfg *cfg)
{
    static const char *const texts[] = {"tls.ca",  "tls.cert", "tls.key",
                                        "tls.crl", "tls.name", "tls.version"};
    const char *text;
    int64_t number;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!host->cfg_str(cfg, texts[i], &text))
            return true;
    return !host->cfg_int(cfg, "tls.uuid", &number);
}

int tcp_tls_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct tcp_tls_opts *out,
                      struct nqt_error *err)
{
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    struct tcp_tls_opts opts = {.on = store_is_on(host, cfg)};
    int64_t uuid = 0;
    uint32_t version = 0;
    const char *text;
    int rc = nqt_cfg_tls(host, cfg, &opts.files, err);

    if (!rc)
        rc = nqt_cfg_text(host, cfg, "tls.crl", 0, opts.crl, sizeof(opts.crl), err);
    if (!rc)
        rc = nqt_cfg_text(host, cfg, "tls.name", 0, opts.name, sizeof(opts.name), err);
    if (!rc && !host->cfg_str(cfg, "tls.version", &text))
        rc = nqt_cfg_choice(host, cfg, "tls.version", store_versions, &version, err);
    if (rc)
        return rc;
    (void)host->cfg_int(cfg, "tls.uuid", &uuid);
    opts.uuid = uuid != 0;
    opts.version = versions[version];
    *out = opts;
    return NQT_OK;
}

/* ---- files ------------------------------------------------------------------------------ */

/* What the library said of it, and nothing of the text. */
static int store_failed(struct nqt_error *err, const char *name, const char *path)
{
    unsigned long error = ERR_peek_last_error();
    const char *why = error ? ERR_reason_error_string(error) : NULL;
    int rc = nqt_fail(err, NQT_E_CONFIG, "%s: %.100s: %s", name, path, why ? why : "no memory");

    ERR_clear_error();
    return rc;
}

/* Instead of a question at the terminal. */
static int store_no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

/* Reading a text ended because nothing more is in it, not because something is broken. */
static bool store_is_end(void)
{
    bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

    if (end)
        ERR_clear_error();
    return end;
}

/* Call `take` with each object in a text; it owns them.  At least one. */
static bool store_each_cert(const char *text, bool (*take)(SSL_CTX *ctx, X509 *cert, int n),
                            SSL_CTX *ctx)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    bool ok = bio;
    X509 *cert;
    int n = 0;

    while (ok && (cert = PEM_read_bio_X509(bio, NULL, store_no_password, NULL)))
        ok = take(ctx, cert, n++);
    BIO_free(bio);
    return ok && n && store_is_end();
}

/* The first is our own, the others lead to who signed it. */
static bool store_take_own(SSL_CTX *ctx, X509 *cert, int n)
{
    bool ok = n ? SSL_CTX_add0_chain_cert(ctx, cert) == 1 : SSL_CTX_use_certificate(ctx, cert) == 1;

    if (!n || !ok)
        X509_free(cert);
    return ok;
}

/* We trust it; and a server names it to its clients. */
static bool store_take_ca(SSL_CTX *ctx, X509 *cert, int n)
{
    bool ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1 &&
              SSL_CTX_add_client_CA(ctx, cert) == 1;

    (void)n;
    X509_free(cert);
    return ok;
}

static bool store_use_key(SSL_CTX *ctx, const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, store_no_password, NULL) : NULL;
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok;
}

static bool store_use_crl(SSL_CTX *ctx, const char *text)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509_CRL *crl;
    bool ok = bio;
    int n = 0;

    for (; ok && (crl = PEM_read_bio_X509_CRL(bio, NULL, store_no_password, NULL)); n++) {
        ok = X509_STORE_add_crl(store, crl) == 1;
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    return ok && n && store_is_end() && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
}

static int store_load(SSL_CTX *ctx, const struct tcp_tls_opts *opts,
                      const struct nqt_tls_texts *texts, struct nqt_error *err)
{
    char *crl = NULL;
    int rc = NQT_OK;

    if (texts->ca && !store_each_cert(texts->ca, store_take_ca, ctx))
        return store_failed(err, "tls.ca", opts->files.ca);
    if (!texts->ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return store_failed(err, "tls", "the system's certificates");
    if (texts->cert && !store_each_cert(texts->cert, store_take_own, ctx))
        return store_failed(err, "tls.cert", opts->files.cert);
    if (texts->key && !store_use_key(ctx, texts->key))
        return store_failed(err, "tls.key", opts->files.key);
    rc = nqt_tls_load("tls.crl", opts->crl, "BEGIN X509 CRL", &crl, err);
    if (!rc && crl && !store_use_crl(ctx, crl))
        rc = store_failed(err, "tls.crl", opts->crl);
    nqt_tls_wipe(&crl);
    return rc;
}

/* ---- the context ------------------------------------------------------------------------ */

/* Who offers protocols must offer ours: what is meant for another one is not led astray here. */
static int store_choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                             const unsigned char *in, unsigned inlen, void *arg)
{
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, len, store_alpn, sizeof(store_alpn),
                              in, inlen) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

#ifdef TCP_TLS_KEYLOG
/* For looking at recorded connections while debugging; no build that anybody ships has it. */
static void store_log_key(const SSL *ssl, const char *line)
{
    const char *path = secure_getenv("SSLKEYLOGFILE");
    FILE *file = path ? fopen(path, "ae") : NULL;

    (void)ssl;
    if (!file)
        return;
    fprintf(file, "%s\n", line);
    fclose(file);
}
#endif

static bool store_configure(SSL_CTX *ctx, const struct tcp_tls_opts *opts)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    /* An idle link needs no room for records. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, store_choose_alpn, NULL);
    SSL_CTX_set_info_callback(ctx, tcp_tls_on_step);
#ifdef TCP_TLS_KEYLOG
    SSL_CTX_set_keylog_callback(ctx, store_log_key);
#endif
    return SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
           SSL_CTX_set_min_proto_version(ctx, opts->version) == 1 &&
           SSL_CTX_set_cipher_list(ctx, STORE_CIPHERS_1_2) == 1 &&
           SSL_CTX_set_alpn_protos(ctx, store_alpn, sizeof(store_alpn)) == 0;
}

static int store_read(const struct tcp_opts *opts, SSL_CTX **ret, struct nqt_error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    struct nqt_tls_texts texts = {0};
    int rc;

    ERR_clear_error();
    if (!ctx || !store_configure(ctx, &opts->tls)) {
        SSL_CTX_free(ctx);
        ERR_clear_error();
        return nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    }
    rc = nqt_tls_load_all(&opts->tls.files, &texts, err);
    if (!rc)
        rc = store_load(ctx, &opts->tls, &texts, err);
    nqt_tls_forget(&texts);
    if (rc)
        SSL_CTX_free(ctx);
    else
        *ret = ctx;
    return rc;
}

int tcp_tls_check(const struct tcp_opts *opts, struct nqt_error *err)
{
    SSL_CTX *ctx = NULL;
    int rc = opts->tls.on ? store_read(opts, &ctx, err) : NQT_OK;

    SSL_CTX_free(ctx);
    return rc;
}

/* ---- change ----------------------------------------------------------------------------- */

static struct store_stamp store_stamp(const char *path)
{
    struct stat st;

    if (!*path || stat(path, &st))
        return (struct store_stamp){0};
    return (struct store_stamp){.dev = st.st_dev,
                                .ino = st.st_ino,
                                .size = st.st_size,
                                .changed = st.st_ctim,
                                .modified = st.st_mtim};
}

static bool store_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool store_same(const struct store_stamp *a, const struct store_stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           store_same_time(a->changed, b->changed) && store_same_time(a->modified, b->modified);
}

/* Look at the files.  True: one is not what it was. */
static bool store_look(const struct tcp_tls_opts *opts, struct store_stamp stamps[STORE_FILES])
{
    const char *paths[STORE_FILES] = {opts->files.ca, opts->files.cert, opts->files.key, opts->crl};
    bool changed = false;

    for (size_t i = 0; i < STORE_FILES; i++) {
        const struct store_stamp now = store_stamp(paths[i]);

        changed |= !store_same(&stamps[i], &now);
        stamps[i] = now;
    }
    return changed;
}

/* Under lock. */
static void store_refresh(const struct nqtp_ep *ep, struct tcp_tls_store *store)
{
    const struct nqtp_mod *mod = ep->mod;
    struct nqt_error err = {.size = sizeof(err)};
    int64_t now = mod->host->now_ns(mod->core);
    SSL_CTX *ctx = NULL;

    if (now - store->looked_ns < STORE_LOOK_NS)
        return;
    store->looked_ns = now;
    if (!store_look(&ep->opts.tls, store->stamps))
        return;
    if (store_read(&ep->opts, &ctx, &err)) {
        nqt_log(mod->host, mod->core, NQT_LOG_WARN,
                "changed files are not used, the old ones hold on: %s", err.text);
        return;
    }
    SSL_CTX_free(store->ctx);
    store->ctx = ctx;
    nqt_log(mod->host, mod->core, NQT_LOG_INFO, "new certificates are in use");
}

SSL *tcp_tls_store_new_ssl(struct nqtp_ep *ep)
{
    struct tcp_tls_store *store = ep->store;
    SSL *ssl;

    pthread_mutex_lock(&store->lock);
    store_refresh(ep, store);
    ssl = SSL_new(store->ctx);
    pthread_mutex_unlock(&store->lock);
    return ssl;
}

const BIO_METHOD *tcp_tls_store_bio(const struct nqtp_ep *ep)
{
    return ep->store->bio;
}

/* ---- life ------------------------------------------------------------------------------- */

int tcp_tls_store_open(struct nqtp_ep *ep, struct nqt_error *err)
{
    struct tcp_tls_store *store;
    int rc = NQT_OK;

    if (!ep->opts.tls.on)
        return NQT_OK;
    if (ep->listen)
        rc = nqt_tls_check_server(&ep->opts.tls.files, err);
    if (rc)
        return rc;
    store = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*store));
    if (!store)
        return nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    pthread_mutex_init(&store->lock, NULL);
    ep->store = store;
    (void)store_look(&ep->opts.tls, store->stamps); /* before they are read */
    store->looked_ns = ep->mod->host->now_ns(ep->mod->core);
    rc = store_read(&ep->opts, &store->ctx, err);
    store->bio = rc ? NULL : tcp_tls_bio_new();
    if (!rc && !store->bio)
        rc = nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    if (rc)
        tcp_tls_store_close(ep);
    return rc;
}

void tcp_tls_store_close(struct nqtp_ep *ep)
{
    struct tcp_tls_store *store = ep->store;

    if (!store)
        return;
    ep->store = NULL;
    SSL_CTX_free(store->ctx);
    BIO_meth_free(store->bio);
    pthread_mutex_destroy(&store->lock);
    nqt_free(ep->mod->host, ep->mod->core, store);
}

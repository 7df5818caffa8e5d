/**
 * @file
 * For transports that look at certificates with OpenSSL 3: the files of the options of `tls` in an
 * SSL_CTX, their change while an endpoint is open, the UUID in a certificate, and why one is
 * refused, in words.
 *
 * The files are looked at when somebody asks for the context, at most once a second.  If one has
 * another inode, size or time, all are read; what does not fit leaves the old ones in force.
 * Whoever has the old context keeps it.
 *
 * As transport_kit.h: no part of the ABI, all `static inline`.  It wants POSIX 2008, and from its
 * user -lssl -lcrypto.  After a failure the library's list of errors is empty.
 *
 * Thread: any.  What reads files may block.
 */
#ifndef NETQUEUE_TRANSPORT_X509_H
#define NETQUEUE_TRANSPORT_X509_H

#include <netqueue/transport_tls.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the UUID in a certificate ---------------------------------------------------------- */

#define NQT_X509_IDENTITY 46 /* bytes of "urn:uuid:", a UUID and a NUL */
#define NQT_X509_URN "urn:uuid:"
#define NQT_X509_URN_LEN (sizeof(NQT_X509_URN) - 1)

/** What to say of a certificate without one, when the option `tls.uuid` asks for it. */
#define NQT_X509_NO_UUID "it names no UUID, or several, as URI:urn:uuid:... (\"tls\".\"uuid\")"

/* ASCII, whatever the locale says. */
static inline int nqt_x509_is_urn(const char *text, size_t len)
{
    for (size_t i = 0; i < NQT_X509_URN_LEN; i++)
        if (i >= len ||
            (text[i] | ('A' <= text[i] && text[i] <= 'Z' ? 0x20 : 0)) != NQT_X509_URN[i])
            return 0;
    return 1;
}

/** Exactly "urn:uuid:" and 8-4-4-4-12 hexadecimal digits. */
static inline int nqt_x509_is_uuid(const char *text, size_t len)
{
    if (len != NQT_X509_IDENTITY - 1 || !nqt_x509_is_urn(text, len))
        return 0;
    for (size_t i = 0; i < len - NQT_X509_URN_LEN; i++) {
        int dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = text[NQT_X509_URN_LEN + i];
        int hex = ('0' <= c && c <= '9') || ('a' <= c && c <= 'f') || ('A' <= c && c <= 'F');

        if (dash ? c != '-' : !hex)
            return 0;
    }
    return 1;
}

/** The one UUID among the names of a certificate; with none or several there is no telling whose it
 *  is.
 *
 * @param out  NQT_X509_IDENTITY bytes; untouched then
 * @return     not 0: it is in `out` */
static inline int nqt_x509_find_uuid(X509 *cert, char *out)
{
    GENERAL_NAMES *names =
        (GENERAL_NAMES *)X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    char found[NQT_X509_IDENTITY] = "";
    unsigned count = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const char *text;
        size_t len;

        if (name->type != GEN_URI)
            continue;
        text = (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        len = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (!nqt_x509_is_urn(text, len))
            continue;
        count += nqt_x509_is_uuid(text, len) ? 1 : 2; /* a broken one is as bad as several */
        if (count == 1)
            memcpy(found, text, len);
    }
    GENERAL_NAMES_free(names);
    if (count != 1)
        return 0;
    memcpy(out, found, sizeof(found));
    return 1;
}

/* ---- the name of a server --------------------------------------------------------------- */

/** The certificate must have this name or address, as what it is, among its subjectAltNames.
 *
 * @return 1: it is a name, 0: it is an address, -1: no memory */
static inline int nqt_x509_expect(X509_VERIFY_PARAM *param, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
        return 0;
    ERR_clear_error();
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 ? 1 : -1;
}

/** Why a certificate is refused, for people.
 *
 * @param who        "client", "server": whose it is
 * @param verdict    X509_V_ERR_*
 * @param objection  one of ours, where the library has none; or NULL
 * @param name       that was expected */
static inline void nqt_x509_refusal(char *out, size_t cap, const char *who, long verdict,
                                    const char *objection, const char *name)
{
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(out, cap, "the %s's certificate is refused: it is not for \"%.60s\"", who, name);
    else
        snprintf(out, cap, "the %s's certificate is refused: %.100s", who,
                 objection ? objection : X509_verify_cert_error_string(verdict));
}

/** What to say of a client that has none. */
#define NQT_X509_NO_CERTIFICATE "the client has no certificate, which \"ca\" asks for"

/* ---- from texts to a context ------------------------------------------------------------ */

/* What the library said of it, and nothing of the text. */
static inline int nqt_x509_failed(struct nqt_error *err, const char *name, const char *path)
{
    unsigned long error = ERR_peek_last_error();
    const char *why = error ? ERR_reason_error_string(error) : NULL;
    int rc = nqt_fail(err, NQT_E_CONFIG, "%s: %.100s: %s", name, path, why ? why : "no memory");

    ERR_clear_error();
    return rc;
}

/* Instead of a question at the terminal. */
static inline int nqt_x509_no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

/* Reading a text ended because nothing more is in it, not because something is broken. */
static inline int nqt_x509_is_end(void)
{
    int end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

    if (end)
        ERR_clear_error();
    return end;
}

/* Call `take` with each certificate in a text; it owns them.  At least one. */
static inline int nqt_x509_each(const char *text, int (*take)(SSL_CTX *ctx, X509 *cert, int n),
                                SSL_CTX *ctx)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    int ok = bio != NULL, n = 0;
    X509 *cert;

    while (ok && (cert = PEM_read_bio_X509(bio, NULL, nqt_x509_no_password, NULL)))
        ok = take(ctx, cert, n++);
    BIO_free(bio);
    return ok && n && nqt_x509_is_end();
}

/* The first is our own, the others lead to who signed it. */
static inline int nqt_x509_take_own(SSL_CTX *ctx, X509 *cert, int n)
{
    int ok = n ? SSL_CTX_add0_chain_cert(ctx, cert) == 1 : SSL_CTX_use_certificate(ctx, cert) == 1;

    if (!n || !ok)
        X509_free(cert);
    return ok;
}

/* We trust it; and a server names it to its clients. */
static inline int nqt_x509_take_ca(SSL_CTX *ctx, X509 *cert, int n)
{
    int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1 &&
             SSL_CTX_add_client_CA(ctx, cert) == 1;

    (void)n;
    X509_free(cert);
    return ok;
}

static inline int nqt_x509_use_key(SSL_CTX *ctx, const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, nqt_x509_no_password, NULL) : NULL;
    int ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok;
}

static inline int nqt_x509_use_crl(SSL_CTX *ctx, const char *text)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = BIO_new_mem_buf(text, -1);
    int ok = bio != NULL, n = 0;
    X509_CRL *crl;

    for (; ok && (crl = PEM_read_bio_X509_CRL(bio, NULL, nqt_x509_no_password, NULL)); n++) {
        ok = X509_STORE_add_crl(store, crl) == 1;
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    return ok && n && nqt_x509_is_end() && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
}

/* What the options name, and without a `ca` whom the system trusts. */
static inline int nqt_x509_use_all(SSL_CTX *ctx, const struct nqt_tls_opts *opts,
                                   const struct nqt_tls_texts *texts, struct nqt_error *err)
{
    char *crl = NULL;
    int rc = NQT_OK;

    if (texts->ca && !nqt_x509_each(texts->ca, nqt_x509_take_ca, ctx))
        return nqt_x509_failed(err, "tls.ca", opts->files.ca);
    if (!texts->ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return nqt_x509_failed(err, "tls", "the system's certificates");
    if (texts->cert && !nqt_x509_each(texts->cert, nqt_x509_take_own, ctx))
        return nqt_x509_failed(err, "tls.cert", opts->files.cert);
    if (texts->key && !nqt_x509_use_key(ctx, texts->key))
        return nqt_x509_failed(err, "tls.key", opts->files.key);
    rc = nqt_tls_load("tls.crl", opts->crl, "BEGIN X509 CRL", &crl, err);
    if (!rc && crl && !nqt_x509_use_crl(ctx, crl))
        rc = nqt_x509_failed(err, "tls.crl", opts->crl);
    nqt_tls_wipe(&crl);
    return rc;
}

/** Sets what the files have no say in; 0: no memory.  NULL is taken for one that sets nothing. */
typedef int (*nqt_x509_setup)(SSL_CTX *ctx, const struct nqt_tls_opts *opts);

/** A context of these files, as they are now.
 *
 * @param texts  theirs, for nqt_tls_forget(), also on failure; NULL = nobody wants them
 * @param ret    owned, ends with SSL_CTX_free(); untouched on failure
 * @return       0, NQT_E_CONFIG or NQT_E_NOMEM with *err */
static inline int nqt_x509_load(const struct nqt_tls_opts *opts, nqt_x509_setup setup,
                                struct nqt_tls_texts *texts, SSL_CTX **ret, struct nqt_error *err)
{
    struct nqt_tls_texts own = {NULL, NULL, NULL}, *read = texts ? texts : &own;
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int rc;

    ERR_clear_error();
    if (!ctx || (setup && !setup(ctx, opts))) {
        SSL_CTX_free(ctx);
        ERR_clear_error();
        return nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    }
    rc = nqt_tls_load_all(&opts->files, read, err);
    if (!rc)
        rc = nqt_x509_use_all(ctx, opts, read, err);
    nqt_tls_forget(&own);
    if (rc)
        SSL_CTX_free(ctx);
    else
        *ret = ctx;
    return rc;
}

/* ---- files that change ------------------------------------------------------------------ */

#define NQT_X509_FILES 4
#define NQT_X509_LOOK_NS INT64_C(1000000000)

/** Zeroed before nqt_x509_open(). */
struct nqt_x509_store {
    /* fixed while it is open */
    const struct nqt_tls_opts *opts; /* borrowed */
    nqt_x509_setup setup;
    pthread_mutex_t lock;
    /* under lock */
    SSL_CTX *ctx;               /* NULL = not open */
    struct nqt_tls_texts texts; /* of `ctx`, when they are kept */
    int keep;
    int64_t looked_ns;
    struct stat files[NQT_X509_FILES]; /* as they were when they were read; zeroed = not there */
};

static inline int nqt_x509_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Look at the files.  Not 0: one is not what it was. */
static inline int nqt_x509_look(struct nqt_x509_store *store)
{
    const struct nqt_tls_opts *opts = store->opts;
    const char *const paths[NQT_X509_FILES] = {opts->files.ca, opts->files.cert, opts->files.key,
                                               opts->crl};
    int changed = 0;

    for (size_t i = 0; i < NQT_X509_FILES; i++) {
        struct stat now;

        if (!*paths[i] || stat(paths[i], &now))
            memset(&now, 0, sizeof(now));
        changed |= !nqt_x509_same(&store->files[i], &now);
        store->files[i] = now;
    }
    return changed;
}

/** Read the files for the first time.
 *
 * @param opts    until nqt_x509_close()
 * @param keep    not 0: store->texts are wanted, too
 * @param now_ns  of the host's clock
 * @return        as nqt_x509_load(); the store is closed on failure */
static inline int nqt_x509_open(struct nqt_x509_store *store, const struct nqt_tls_opts *opts,
                                nqt_x509_setup setup, int keep, int64_t now_ns,
                                struct nqt_error *err)
{
    int rc;

    store->opts = opts;
    store->setup = setup;
    store->keep = keep;
    store->looked_ns = now_ns;
    (void)nqt_x509_look(store); /* before they are read */
    rc = nqt_x509_load(opts, setup, keep ? &store->texts : NULL, &store->ctx, err);
    if (rc)
        nqt_tls_forget(&store->texts);
    else
        pthread_mutex_init(&store->lock, NULL);
    return rc;
}

/** Under store->lock: read them again, if one has changed and the last look was a second ago.
 *
 * @return 1: `ctx` and `texts` are new; 0: they are what they were; NQT_E_*: the same, and *err
 *         says why what changed is not used.  The lines for the log are NQT_X509_NEW and _OLD. */
static inline int nqt_x509_refresh(struct nqt_x509_store *store, int64_t now_ns,
                                   struct nqt_error *err)
{
    struct nqt_tls_texts texts = {NULL, NULL, NULL};
    SSL_CTX *ctx = NULL;
    int rc;

    if (now_ns - store->looked_ns < NQT_X509_LOOK_NS)
        return 0;
    store->looked_ns = now_ns;
    if (!nqt_x509_look(store))
        return 0;
    rc = nqt_x509_load(store->opts, store->setup, store->keep ? &texts : NULL, &ctx, err);
    if (rc) {
        nqt_tls_forget(&texts);
        return rc;
    }
    SSL_CTX_free(store->ctx);
    store->ctx = ctx;
    nqt_tls_forget(&store->texts);
    store->texts = texts;
    return 1;
}

#define NQT_X509_NEW "new certificates are in use"
#define NQT_X509_OLD "changed files are not used, the old ones hold on: %s"

/** One that is not open is taken, too. */
static inline void nqt_x509_close(struct nqt_x509_store *store)
{
    if (!store->ctx)
        return;
    SSL_CTX_free(store->ctx);
    store->ctx = NULL;
    nqt_tls_forget(&store->texts);
    pthread_mutex_destroy(&store->lock);
}

#ifdef __cplusplus
}
#endif
#endif

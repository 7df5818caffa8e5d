/* The verdict on a certificate, by OpenSSL and with the same rules and words as the transport tcp.
 *
 * TLS itself has proven that the other side has the key.  Everything else is asked here, and what
 * cannot be read is refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_tls.h"
#include <string.h>

/* The certificates of a PEM text; NULL = there are none, or no memory. */
static STACK_OF(X509) * cert_read_all(const char *text, size_t len)
{
    BIO *bio = text ? BIO_new_mem_buf(text, len ? (int)len : -1) : NULL;
    STACK_OF(X509) *all = bio ? sk_X509_new_null() : NULL;
    X509 *cert;

    while (all && (cert = PEM_read_bio_X509(bio, NULL, nqt_x509_no_password, NULL)))
        if (!sk_X509_push(all, cert)) {
            X509_free(cert);
            break;
        }
    BIO_free(bio);
    ERR_clear_error();
    return all;
}

static void cert_free_all(STACK_OF(X509) * all)
{
    sk_X509_pop_free(all, X509_free);
}

/* @return X509_V_OK, or why not */
static int cert_verify(SSL_CTX *ctx, X509 *leaf, STACK_OF(X509) * chain, const char *name)
{
    X509_STORE_CTX *verify = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *param;
    int verdict = X509_V_ERR_OUT_OF_MEM;

    if (verify && X509_STORE_CTX_init(verify, SSL_CTX_get_cert_store(ctx), leaf, chain) == 1 &&
        X509_STORE_CTX_set_default(verify, name ? "ssl_server" : "ssl_client") == 1) {
        param = X509_STORE_CTX_get0_param(verify);
        X509_VERIFY_PARAM_set_auth_level(param, SSL_CTX_get_security_level(ctx));
        if (!name || nqt_x509_expect(param, name) >= 0)
            verdict = X509_verify_cert(verify) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(verify);
        if (verdict == X509_V_OK && X509_STORE_CTX_get_error(verify) != X509_V_OK)
            verdict = X509_STORE_CTX_get_error(verify);
    }
    X509_STORE_CTX_free(verify);
    ERR_clear_error();
    return verdict;
}

bool ngrpc_cert_judge(SSL_CTX *ctx, const struct ngrpc_tls *tls, const struct ngrpc_cert *cert,
                      bool client, char *identity, char *why)
{
    STACK_OF(X509) *leaf = cert_read_all(cert->leaf, cert->leaf_len);
    STACK_OF(X509) *chain = cert_read_all(cert->chain, cert->chain_len);
    const char *who = client ? "client" : "server", *objection = NULL;
    int verdict = X509_V_ERR_CERT_REJECTED;

    *identity = '\0';
    if (sk_X509_num(leaf) != 1)
        objection = "it cannot be read";
    else
        verdict = cert_verify(ctx, sk_X509_value(leaf, 0), chain, client ? NULL : tls->name);
    if (verdict == X509_V_OK && tls->opts.uuid &&
        !nqt_x509_find_uuid(sk_X509_value(leaf, 0), identity)) {
        verdict = X509_V_ERR_CERT_REJECTED;
        objection = NQT_X509_NO_UUID;
    }
    cert_free_all(leaf);
    cert_free_all(chain);
    if (verdict != X509_V_OK)
        nqt_x509_refusal(why, NGRPC_WHY_MAX, who, verdict, objection, tls->name);
    return verdict == X509_V_OK;
}

/* ---- calls ------------------------------------------------------------------------------ */

static const char *cert_property(const grpc_auth_context *auth, const char *name, size_t *len)
{
    grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(auth, name);
    const grpc_auth_property *property = grpc_auth_property_iterator_next(&it);

    *len = property ? property->value_length : 0;
    return *len ? property->value : NULL;
}

bool ngrpc_tls_admit(struct ngrpc_tls *tls, grpc_call *call, char *identity, char *why)
{
    grpc_auth_context *auth;
    struct ngrpc_cert cert;
    SSL_CTX *ctx;
    bool ok;

    *identity = '\0';
    if (!tls || !*tls->opts.files.ca)
        return true; /* nobody was asked for one */
    pthread_mutex_lock(&tls->files.lock);
    ctx = tls->files.ctx;
    (void)SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&tls->files.lock);
    auth = grpc_call_auth_context(call);
    cert.leaf = cert_property(auth, GRPC_X509_PEM_CERT_PROPERTY_NAME, &cert.leaf_len);
    cert.chain = cert_property(auth, GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME, &cert.chain_len);
    ok = cert.leaf && ngrpc_cert_judge(ctx, tls, &cert, true, identity, why);
    if (!cert.leaf)
        snprintf(why, NGRPC_WHY_MAX, NQT_X509_NO_CERTIFICATE);
    grpc_auth_context_release(auth);
    SSL_CTX_free(ctx);
    return ok;
}

bool ngrpc_tls_recognize(const struct ngrpc_tls *tls, grpc_call *call, char *identity)
{
    grpc_auth_context *auth;
    STACK_OF(X509) * leaf;
    const char *text;
    size_t len;
    bool ok;

    if (!tls || !tls->opts.uuid)
        return true;
    auth = grpc_call_auth_context(call);
    text = cert_property(auth, GRPC_X509_PEM_CERT_PROPERTY_NAME, &len);
    leaf = cert_read_all(text, len);
    ok = sk_X509_num(leaf) == 1 && nqt_x509_find_uuid(sk_X509_value(leaf, 0), identity);
    cert_free_all(leaf);
    grpc_auth_context_release(auth);
    return ok;
}

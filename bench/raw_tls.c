/* The measure for netqueue over tcp with TLS: the least that a C program can do with OpenSSL.
 *
 * Oneway only, without headers: SSL_write() of a whole message from one buffer, SSL_read() into one
 * buffer; the receiver counts bytes.  TLS 1.3 with the cipher that both sides of netqueue agree on,
 * too.  Best settings known: blocking sockets, and with --read above one record the library reads
 * ahead so much.  The certificate is made here, and nobody looks at it: that costs nothing once the
 * connection stands. */
#include "pair.h"
#include "report.h"
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <unistd.h>

#define TLS_RECORD 16384u

static SSL_CTX *tls_context(const struct bench_opts *opts)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
        bench_die("SSL_CTX_new", "no TLS 1.3");
    SSL_CTX_set_num_tickets(ctx, 0);
    if (opts->read_size > TLS_RECORD) {
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_default_read_buffer_len(ctx, opts->read_size);
    }
    return ctx;
}

static void tls_certify(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();

    if (!key || !cert)
        bench_die("EVP_EC_gen", "no key");
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    if (X509_set_pubkey(cert, key) != 1 || X509_sign(cert, key, EVP_sha256()) == 0 ||
        SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        bench_die("X509_sign", "no certificate");
    X509_free(cert);
    EVP_PKEY_free(key);
}

static SSL *tls_on(SSL_CTX *ctx, int fd, int (*handshake)(SSL *))
{
    SSL *ssl = SSL_new(ctx);

    if (!ssl || SSL_set_fd(ssl, fd) != 1 || handshake(ssl) != 1)
        bench_die("handshake", "failed");
    return ssl;
}

static void tls_sender(const struct bench_opts *opts, int fd, void *arg)
{
    struct bench_pair *pair = arg;
    SSL_CTX *ctx = tls_context(opts);
    char *payload = bench_pages(opts->size);
    size_t sent;
    SSL *ssl;

    (void)fd;
    close(pair->fd[0]);
    ssl = tls_on(ctx, pair->fd[1], SSL_connect);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++)
        if (SSL_write_ex(ssl, payload, opts->size, &sent) != 1)
            bench_die("SSL_write", "failed");
    SSL_shutdown(ssl);
}

static size_t tls_receive(void *ssl, char *buf, size_t len)
{
    size_t n;

    return SSL_read_ex(ssl, buf, len, &n) == 1 ? n : 0;
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_result result = {.program = "raw_tls"};
    struct bench_peer peer;
    struct bench_pair pair;
    SSL_CTX *ctx;
    SSL *ssl;

    bench_options(&opts, "raw_tls", BENCH_OPT_READ, argc, argv);
    if (opts.job != BENCH_ONEWAY)
        bench_die("job", "only oneway is measured over TLS");
    pair = bench_pair_connect();
    peer = bench_peer_start(&opts, tls_sender, &pair);
    close(pair.fd[1]);
    ctx = tls_context(&opts);
    tls_certify(ctx);
    ssl = tls_on(ctx, pair.fd[0], SSL_accept);
    snprintf(result.settings, sizeof(result.settings), "%s %s, read %zu", SSL_get_version(ssl),
             SSL_get_cipher_name(ssl), opts.read_size);
    bench_cpu_start();
    bench_count_bytes(&opts, tls_receive, ssl, &result);
    bench_peer_wait(&peer);
    bench_print(&opts, &result);
    return 0;
}

/* Certificates and keys: from the options `tls.*` to credentials of gRPC.
 *
 * gRPC says of files that do not fit only that a connection or an address cannot be had.  So they
 * are read and looked at here first, for the reason. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TLS_FILE_MAX (1 << 20) /* bytes */

struct tls_files {
    char *ca, *cert, *key; /* NULL = none */
};

bool ngrpc_tls_is_on(const struct ngrpc_opts *opts)
{
    return *opts->tls.ca || *opts->tls.cert;
}

/* ---- files ------------------------------------------------------------------------------ */

static void tls_forget(struct tls_files *files)
{
    free(files->ca);
    free(files->cert);
    if (files->key)
        explicit_bzero(files->key, strlen(files->key));
    free(files->key);
}

/* The whole text of a file, which must hold `mark`. */
static int tls_load(const char *name, const char *path, const char *mark, char **out,
                    struct nqt_error *err)
{
    FILE *file = *path ? fopen(path, "re") : NULL;
    char *text = file ? malloc(TLS_FILE_MAX) : NULL;
    int error = errno;
    size_t len;

    if (!*path)
        return NQT_OK;
    if (!text) {
        if (file)
            fclose(file);
        return nqt_fail_native(err, NQT_E_CONFIG, "errno", error, "%s: cannot read %.120s: %s",
                               name, path, strerror(error));
    }
    len = fread(text, 1, TLS_FILE_MAX - 1, file);
    fclose(file);
    text[len] = '\0';
    *out = text;
    if (strstr(text, mark))
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG, "%s: no \"%s\" in PEM form in %.120s", name, mark, path);
}

static int tls_load_all(const struct ngrpc_opts *opts, struct tls_files *files,
                        struct nqt_error *err)
{
    int rc = tls_load("tls.ca", opts->tls.ca, "BEGIN CERTIFICATE", &files->ca, err);

    if (!rc)
        rc = tls_load("tls.cert", opts->tls.cert, "BEGIN CERTIFICATE", &files->cert, err);
    if (!rc)
        rc = tls_load("tls.key", opts->tls.key, "PRIVATE KEY", &files->key, err);
    return rc;
}

int ngrpc_tls_check(const struct ngrpc_opts *opts, struct nqt_error *err)
{
    struct tls_files files = {0};
    int rc = tls_load_all(opts, &files, err);

    tls_forget(&files);
    return rc;
}

int ngrpc_tls_check_client(const struct ngrpc_opts *opts, struct nqt_error *err)
{
    if (!ngrpc_tls_is_on(opts) || *opts->tls.ca)
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG, "tls: there is no \"ca\" to know the server by");
}

/* ---- credentials ------------------------------------------------------------------------ */

int ngrpc_tls_channel(const struct ngrpc_opts *opts, grpc_channel_credentials **out,
                      struct nqt_error *err)
{
    struct tls_files files = {0};
    grpc_ssl_pem_key_cert_pair pair;
    int rc;

    if (!ngrpc_tls_is_on(opts)) {
        *out = grpc_insecure_credentials_create();
        return NQT_OK;
    }
    rc = ngrpc_tls_check_client(opts, err);
    if (!rc)
        rc = tls_load_all(opts, &files, err);
    pair = (grpc_ssl_pem_key_cert_pair){.private_key = files.key, .cert_chain = files.cert};
    if (!rc)
        *out = grpc_ssl_credentials_create_ex(files.ca, files.key ? &pair : NULL, NULL, NULL);
    tls_forget(&files);
    return rc;
}

int ngrpc_tls_server(const struct ngrpc_opts *opts, grpc_server_credentials **out,
                     struct nqt_error *err)
{
    struct tls_files files = {0};
    grpc_ssl_pem_key_cert_pair pair;
    int rc;

    if (!ngrpc_tls_is_on(opts)) {
        *out = grpc_insecure_server_credentials_create();
        return NQT_OK;
    }
    if (!*opts->tls.cert)
        return nqt_fail(err, NQT_E_CONFIG, "tls: a server needs \"cert\" and \"key\"");
    rc = tls_load_all(opts, &files, err);
    pair = (grpc_ssl_pem_key_cert_pair){.private_key = files.key, .cert_chain = files.cert};
    if (!rc)
        *out = grpc_ssl_server_credentials_create_ex(
            files.ca, &pair, 1,
            files.ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                     : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            NULL);
    tls_forget(&files);
    return rc;
}

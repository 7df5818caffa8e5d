/* Certificates of an endpoint: what grpc_tls.c and grpc_cert.c share, and how they divide the work.
 *
 *   grpc_tls.c    the options' files, their change while we run, credentials of gRPC
 *   grpc_cert.c   the verdict on the other side's certificate, and whom it names */
#ifndef NGRPC_TLS_H
#define NGRPC_TLS_H

#include "grpc.h"
#include <netqueue/transport_x509.h>

/* The files of an endpoint; lives as long as gRPC may ask for them. */
struct ngrpc_tls {
    _Atomic uint32_t refs; /* the endpoint, its server, credentials, channels */
    /* fixed */
    struct nqt_tls_opts opts;
    char name[NQT_TLS_NAME_MAX]; /* that a server's certificate must be for */
    /* A server's; valid while there are credentials.  Atomic as in struct tls_verifier. */
    _Atomic(struct ngrpc_room *) room;

    struct nqt_x509_store files;
    bool given; /* under its lock: gRPC has these */
};

/* What the other side showed, in PEM form; its own may stand in the chain, too.  NULL = nothing. */
struct ngrpc_cert {
    const char *leaf, *chain;
    size_t leaf_len, chain_len; /* 0 = up to the NUL */
};

/* Is the certificate one that the options ask for?
 *
 * @param client    whose it is
 * @param identity  NQT_X509_IDENTITY bytes: whom it names, when `tls.uuid` asks; else ""
 * @param why       NGRPC_WHY_MAX bytes: written when it is refused */
bool ngrpc_cert_judge(SSL_CTX *ctx, const struct ngrpc_tls *tls, const struct ngrpc_cert *cert,
                      bool client, char *identity, char *why);

#endif

/* TLS on the connections of an endpoint: what the plugin's other files see of it.
 *
 *   tcp_tls.c         certificates and keys, and their change while we run
 *   tcp_tls_verify.c  whom we trust, and why not; the reasons as text
 *   tcp_tls_link.c    life of a link's TLS: the handshake, the end
 *   tcp_tls_io.c      records between the library and the socket
 *
 * An endpoint without the options "tls.*" has no store and its links no struct tcp_tls: all that
 * the plain path knows of this is one pointer that is NULL.
 *
 * The data path of a link with TLS:
 *
 *     core's segments --gather, encrypt--> out --one send()--> socket
 *     core's space <--decrypt-- the library's buffer <--one recv()-- socket
 *
 * The library sees the socket through a BIO of ours.  Going out it always takes a record, into
 * `out`, which is flushed when a flight of records is full or nothing follows: one system call for
 * four records instead of one each, and never a write of the library's to be repeated.  Coming in
 * one recv() brings as many records as are there; after one that brought less than it could the
 * socket is not asked again in that turn.
 *
 * The kernel's TLS is not used: its sockets give one record a call and need a second way for
 * everything that is no data. */
#ifndef TCP_TLS_H
#define TCP_TLS_H

#include "tcp.h"
#include <netqueue/transport_x509.h>

#define TCP_TLS_RECORD 16384 /* most bytes of data in one record */

struct tcp_tls {
    SSL *ssl; /* NULL: over; the struct stays for info() */
    struct nqtp_link *link;
    nqt_watch *resume; /* runs the reader for what no watch tells of; see tcp_tls_resume() */

    /* Records that the socket did not take yet: [out_at, out_len) of out_cap; NULL = none. */
    unsigned char *out;
    size_t out_at, out_len, out_cap;

    bool greeted;     /* the other side's first bytes were looked at ... */
    bool stranger;    /* ... and are no TLS */
    bool secure;      /* the handshake is over */
    bool polled;      /* nobody said that there is something to receive */
    bool drained;     /* the socket had less than was asked for, in this turn */
    bool more;        /* reading stopped for lack of space, or at the end: run the reader again */
    bool eof;         /* the socket's end was read */
    bool bye;         /* our close_notify is made */
    uint32_t rekeyed; /* how often the other side has changed its keys ... */
    uint64_t moved;   /* ... while so many bytes of data came */
    int rx_errno;     /* why receiving broke */
    int tx_errno;     /* why sending broke, when part of the data had gone before */

    const char *objection; /* ours to their certificate, where the library has none; or NULL */
    struct {
        int code; /* NQT_E_*: nothing more comes, and why; 0 = not yet */
        int native;
        char text[160];
    } end;
    bool chosen;                      /* ALPN: both speak nq1 */
    char identity[NQT_X509_IDENTITY]; /* "urn:uuid:..." of their certificate; "" = not asked for */
};

/* ---- tcp_tls.c -------------------------------------------------------------------------- */

/* A new SSL with the endpoint's present files, which are looked at again if that was a second ago;
 * NULL = no memory.  Thread: any.  Reads files that have changed. */
SSL *tcp_tls_store_new_ssl(struct nqtp_ep *ep);
const BIO_METHOD *tcp_tls_store_bio(const struct nqtp_ep *ep);

/* ---- tcp_tls_verify.c ------------------------------------------------------------------- */

/* Whether the certificate of the other side is to be looked at, and for which name; everybody's
 * UUID if asked.  False: no memory. */
bool tcp_tls_verify_setup(struct tcp_tls *tls);

/* The library stopped, in `state` of SSL_get_error(): say why in tls->end.  Empties its list of
 * errors.  In the thread that called it, at once. */
void tcp_tls_judge(struct tcp_tls *tls, int state);

/* ---- tcp_tls_io.c ----------------------------------------------------------------------- */

/* The methods of the BIO below an SSL, whose data is the struct tcp_tls; NULL = no memory. */
BIO_METHOD *tcp_tls_bio_new(void);

/* For the library, at each step of a handshake, also of those that change keys later. */
void tcp_tls_on_step(const SSL *ssl, int where, int ret);

/* Send what is in `out`.  True: it is empty.  False: errno; EAGAIN = the socket is full. */
bool tcp_tls_flush(struct tcp_tls *tls);

#endif

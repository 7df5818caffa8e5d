/* What the files of the fake host share.
 *
 *   host.c      endpoints, events
 *   link.c      the slots of links
 *   table.c     what the plugin may call: the table, of which these files have the functions
 *   services.c    in general, watches and timers
 *   options.c     options
 *   names.c       addresses
 *   receive.c     room for bytes that come
 *   buf.c       buffers and their pattern
 *   loop.c      the poll() loop, waiting, conditions
 *   fds.c       which descriptors are open
 *
 * The plugin's cookies are our own structs, cast. */
#ifndef NQTEST_HOST_IN_H
#define NQTEST_HOST_IN_H

#include "tools/conform/host.h"

struct nqtest_serial {
    struct nqtest_host *host;
};

struct nqtest_watch {
    struct nqtest_watch *next;
    struct nqtest_host *host;
    bool deleted;
    int fd;   /* -1: a timer */
    int edge; /* NQT_POLL_EDGE: a set that has `fd` alone and is asked instead; else -1 */
    uint32_t events;
    void (*on_fd)(void *arg, uint32_t events);
    void (*on_timer)(void *arg);
    void *arg;
    int64_t at; /* < 0: stopped */
};

struct nqtest_call {
    struct nqtest_call *next;
    void (*fn)(void *arg);
    nqt_resolved_fn resolved;
    void *arg;
    char name[256];
    bool passive;
    uint16_t port;
};

struct nqtest_queued {
    struct nqtest_queued *next;
    struct nqt_event event;
    struct nqt_error err;
    char peer[128];
    struct nqt_buf **bufs;
};

/* Strings that the plugin was given; they end with the call that got the cfg. */
struct host_text {
    struct host_text *next;
    char text[];
};

struct host_cfg {
    const struct nqtest_opt *opts;
    const struct nqt_module *module; /* whose options these are */
    struct host_text **texts;        /* where they are kept */
};

void nqtest_cfg_fini(struct host_cfg *cfg);

/* free(), but a while later: what is written there meanwhile is seen, and what is read there is no
 * longer what it was.  Thread: any. */
void nqtest_retire(void *mem, size_t len);

struct nqtest_serial *nqtest_serial_new(struct nqtest_host *host);

/* Fill host->table, of the kind that is asked for. */
void nqtest_make_table(struct nqtest_host *host);
/* Set the services of one file. */
void nqtest_serve_in_general(struct nqt_host *table);
void nqtest_serve_options(struct nqt_host *table);
void nqtest_serve_names(struct nqt_host *table);
void nqtest_serve_receiving(struct nqt_host *table);

/* Whose service is called; it must not be after mod_close(). */
struct nqtest_host *nqtest_core_host(nqt_core *core);
/* Of this host something is called that must be called in a serial. */
void nqtest_must_be_in_serial(const struct nqtest_host *host);
/* True: this is the one that has to fail. */
bool nqtest_fails(_Atomic long *countdown);

/* The hosts of this thread. */
extern _Thread_local struct nqtest_host *nqtest_hosts;

/* Bracket whatever runs inside a serial; what was emitted there is handled at the end.
 * @param what  the slot or callback, static text */
void nqtest_enter(struct nqtest_host *host, const char *what);
void nqtest_leave(struct nqtest_host *host);
void nqtest_handle_all(struct nqtest_host *host);

/* From now on its bytes stay as they are; of buffers of ours. */
void nqtest_buf_seal(struct nqt_buf *buf);
/* A buffer to fill, with one reference. */
struct nqt_buf *nqtest_buf_new(size_t len, uint32_t nseg);
/* Check and count what came. */
void nqtest_receive(struct nqtest_link *link, const uint8_t *bytes, size_t len);

/* Answer one question of resolve(). */
void nqtest_answer(const struct nqtest_host *host, const struct nqtest_call *call);
int64_t nqtest_now(const struct nqtest_host *host);
/* Free the watches that were deleted. */
void nqtest_sweep(struct nqtest_host *host);

/* Monotonic and real. */
int64_t nqtest_clock_ms(void);

/* host.c: the service `health`.  Thread: any. */
void nqtest_host_health(nqt_ep *cookie, const struct nqt_health *health);

#endif

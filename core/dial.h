/* A client's way to its server: try the transports in order, back off, try again. */
#ifndef NQ_CORE_DIAL_H
#define NQ_CORE_DIAL_H

#include "core/link.h"

struct nqi_dialer {
    /* fixed */
    nqt_ep *const *eps; /* borrowed */
    size_t count;
    struct nqi_serial *serial;
    const struct nqi_link_events *events;
    void *arg;

    size_t at;     /* the endpoint to try next */
    int64_t delay; /* ns: the pause after the whole list failed */
    int64_t tried; /* when */
    int64_t alone; /* since when there has been no server */
    bool said;     /* ... and that was logged */
    uint64_t random;
    struct nqi_watch *timer;
    bool stopped;
};

/* Everything here: inside the serial's strand. */
void nqi_dialer_init(struct nqi_dialer *dialer, nqt_ep *const *eps, size_t count,
                     struct nqi_serial *serial, const struct nqi_link_events *events, void *arg);
void nqi_dialer_fini(struct nqi_dialer *dialer);

/* Try the next transport.  @param ret [out] the link that is opening
 * @return NQ_OK, or NQ_AGAIN: it failed at once, the text is in nq_error(), a later try is set up
 */
NQ_MUST_CHECK nq_err nqi_dialer_try(struct nqi_dialer *dialer, struct nqi_link **ret);

/* The link that was tried is down: try again later.  Who waits for a server in vain has a warning
 * in the log, once.  @param why  for it; borrowed */
void nqi_dialer_failed(struct nqi_dialer *dialer, const char *why);

/* It worked, and is lost: the list is tried from the beginning, or goes on when it was short-lived.
 * nqi_dialer_failed() follows.  @param useful  messages passed over it */
void nqi_dialer_worked(struct nqi_dialer *dialer, bool useful);

/* No further tries. */
void nqi_dialer_stop(struct nqi_dialer *dialer);

/* Called when it is time to try again. */
void nqi_dialer_on_time(struct nqi_dialer *dialer, void (*retry)(void *arg), void *arg);

#endif

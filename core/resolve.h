/* Host names -> addresses on a helper thread, because getaddrinfo() blocks.
 *
 * One thread a process, started by the first question that needs it and ended when idle for
 * a second; numeric addresses are answered at once. */
#ifndef NQ_CORE_RESOLVE_H
#define NQ_CORE_RESOLVE_H

#include "core/base.h"
#include <netqueue/transport.h>

/* The answer; `addrs` and `err` are borrowed until it returns.  Runs on the helper thread,
 * or inside nqi_resolve() for numeric addresses. */
typedef void (*nqi_resolve_fn)(void *arg, const struct nqt_addr *addrs, uint32_t n,
                               const struct nqt_error *err);

/* Ask; `fn` is called once, always, unless this fails.  host NULL = any address (with
 * NQT_RESOLVE_PASSIVE) or loopback.  @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_SYS (no thread). */
NQ_MUST_CHECK nq_err nqi_resolve(const char *host, uint16_t port, uint32_t flags, nqi_resolve_fn fn,
                                 void *arg);

/* Wait until no question with this `arg` is open; its answer is not called after that.
 * Not from inside `fn`. */
void nqi_resolve_cancel(void *arg);

#endif

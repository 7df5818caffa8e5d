/**
 * @file
 * What most transports need beside the ABI: errors with a text, memory, timers, events, options.
 *
 * Nothing here is part of the ABI.  All of it is `static inline` over the host's table, so a plugin
 * that uses it still has no undefined symbol of the library, and two plugins that were built with
 * different versions of this header work side by side.
 *
 * Members: NQT_EMIT_LINK() and NQT_EMIT_EP() find what every event says in a plugin's own structs,
 * by these names:
 *
 *     struct nqtp_mod   host, core
 *     struct nqtp_ep    mod, cookie (nqt_ep *)
 *     struct nqtp_link  ep, cookie (nqt_link *, NULL until attached), epoch, peer (text)
 *
 * Thread: any, unless a comment says more.  Nothing blocks.
 */
#ifndef NETQUEUE_TRANSPORT_KIT_H
#define NETQUEUE_TRANSPORT_KIT_H

#include <netqueue/transport.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where a path ends, with its NUL. */
#define NQT_PATH_MAX 1024
/** A line of nqt_log() is cut after so many bytes. */
#define NQT_LOG_MAX 384

/* ---- errors and lines ------------------------------------------------------------------- */

/** nqt_fail_native() with its arguments in a list. */
static inline __attribute__((format(printf, 5, 0))) int
nqt_vfail_native(struct nqt_error *err, int code, const char *domain, int64_t native,
                 const char *format, va_list args)
{
    uint32_t size;

    if (!err || err->size < sizeof(*err))
        return code;
    size = err->size;
    memset(err, 0, sizeof(*err));
    err->size = size;
    err->code = code;
    err->native = native;
    if (native)
        snprintf(err->domain, sizeof(err->domain), "%s", domain);
    vsnprintf(err->text, sizeof(err->text), format, args);
    return code;
}

/** Say what failed, and hand it up: `return nqt_fail(err, NQT_E_CONFIG, "port: %d", port)`.
 *
 * @param err     filled; may be NULL, or of an older minor: then it stays as it is
 * @param code    NQT_E_*
 * @param format  what and where, for people; cut to what `err` holds
 * @return        `code` */
static inline __attribute__((format(printf, 3, 4))) int nqt_fail(struct nqt_error *err, int code,
                                                                 const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)nqt_vfail_native(err, code, "", 0, format, args);
    va_end(args);
    return code;
}

/** The same with what the system or a library said.
 *
 * @param domain  whose number it is: "errno" ...; at most 15 bytes are kept
 * @param native  0 = there is none; the domain is left out, too */
static inline __attribute__((format(printf, 5, 6))) int
nqt_fail_native(struct nqt_error *err, int code, const char *domain, int64_t native,
                const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)nqt_vfail_native(err, code, domain, native, format, args);
    va_end(args);
    return code;
}

/** One line for the log, of this NQT_LOG_*. */
static inline __attribute__((format(printf, 4, 5))) void
nqt_log(const struct nqt_host *host, nqt_core *core, uint32_t level, const char *format, ...)
{
    char text[NQT_LOG_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    host->log(core, level, text);
}

/* ---- memory ----------------------------------------------------------------------------- */

/** Zeroed memory of the queue, until nqt_free(); NULL = there is none. */
static inline void *nqt_alloc(const struct nqt_host *host, nqt_core *core, size_t len)
{
    void *mem = host->mem(core, NULL, len);

    if (mem)
        memset(mem, 0, len);
    return mem;
}

/** @param mem  of nqt_alloc(); NULL is taken, too. */
static inline void nqt_free(const struct nqt_host *host, nqt_core *core, void *mem)
{
    if (mem)
        (void)host->mem(core, mem, 0);
}

/* ---- timers: in serial ------------------------------------------------------------------ */

/** Have fn(arg) called once in the serial, `after_ns` from now; then set it anew with timer_set().
 *
 * @param ret  the timer, until nqt_timer_stop(); NULL on failure
 * @return     0 or NQT_E_* */
static inline int nqt_timer_start(const struct nqt_host *host, nqt_core *core, nqt_serial *serial,
                                  void (*fn)(void *), void *arg, int64_t after_ns, nqt_watch **ret)
{
    int rc = host->timer_add(serial, fn, arg, ret);

    if (rc) {
        *ret = NULL;
        return rc;
    }
    host->timer_set(*ret, host->now_ns(core) + after_ns);
    return NQT_OK;
}

/** Delete it, if there is one; *timer becomes NULL. */
static inline void nqt_timer_stop(const struct nqt_host *host, nqt_watch **timer)
{
    if (*timer)
        host->timer_del(*timer);
    *timer = NULL;
}

/* ---- events ----------------------------------------------------------------------------- */

/** An event of a link: NQT_LINK_EVENT(link, NQT_EV_LINK_DOWN, .err = &err).  It borrows the link's
 *  texts, so what is emitted after the link was freed has to leave `peer_name` out. */
#define NQT_LINK_EVENT(of, ...)           \
    ((struct nqt_event){                  \
        .size = sizeof(struct nqt_event), \
        .ep = (of)->ep->cookie,           \
        .link = (of)->cookie,             \
        .epoch = (of)->epoch,             \
        .plink = (of),                    \
        .peer_name = (of)->peer,          \
        .kind = __VA_ARGS__,              \
    })

/** An event of an endpoint: NQT_EP_EVENT(ep, NQT_EV_EP_DOWN, .err = &err). */
#define NQT_EP_EVENT(of, ...)             \
    ((struct nqt_event){                  \
        .size = sizeof(struct nqt_event), \
        .ep = (of)->cookie,               \
        .kind = __VA_ARGS__,              \
    })

/** Emit one; what follows the kind is given to that event only.  @return as emit() */
#define NQT_EMIT_LINK(of, ...) \
    ((of)->ep->mod->host->emit((of)->ep->mod->core, &NQT_LINK_EVENT(of, __VA_ARGS__), 1))
#define NQT_EMIT_EP(of, ...) \
    ((of)->mod->host->emit((of)->mod->core, &NQT_EP_EVENT(of, __VA_ARGS__), 1))

/** EP_CLOSED, the last event of an endpoint, whose memory is gone already: mod_close() may follow
 *  at once, so nothing of the module may be touched after it. */
static inline void nqt_emit_ep_closed(const struct nqt_host *host, nqt_core *core, nqt_ep *cookie)
{
    struct nqt_event event;

    memset(&event, 0, sizeof(event));
    event.size = sizeof(event);
    event.kind = NQT_EV_EP_CLOSED;
    event.ep = cookie;
    (void)host->emit(core, &event, 1);
}

/** Say how the endpoint's medium is, as host->health(), to cores that want to know.
 *
 *  @param state  NQT_HEALTH_*
 *  @param text   copied; NULL = nothing to say */
static inline void nqt_tell_health(const struct nqt_host *host, nqt_ep *ep, uint32_t state,
                                   const char *text)
{
    struct nqt_health health;

    if (!NQT_HAS(struct nqt_host, host, health))
        return;
    memset(&health, 0, sizeof(health));
    health.size = sizeof(health);
    health.state = state;
    health.text = text;
    host->health(ep, &health);
}

/* ---- slots that say little -------------------------------------------------------------- */

/** Answer info(): @return 0, or NQT_E_INVAL: the caller is of an older minor. */
static inline int nqt_info_answer(struct nqt_info *out, uint64_t caps, uint64_t max_message,
                                  const char *local, const char *peer)
{
    uint32_t size = out->size;

    if (size < sizeof(*out))
        return NQT_E_INVAL;
    memset(out, 0, sizeof(*out));
    out->size = size;
    out->caps = caps;
    out->max_message = max_message;
    out->local = local;
    out->peer = peer;
    return NQT_OK;
}

/** For the slot `ext` of a module that has no family of features. */
static inline const void *nqt_no_ext(struct nqtp_mod *mod, const char *id)
{
    (void)mod;
    (void)id;
    return NULL;
}

/* ---- options: only during the call that received the nqt_cfg ---------------------------- */

/** An option's number and where it belongs. */
struct nqt_number {
    const char *name; /* BOOL INT SIZE DURATION */
    int64_t *out;
};

/** Read numbers; 0, or NQT_E_CONFIG with *err: the named one has no value and no default. */
static inline int nqt_cfg_numbers(const struct nqt_host *host, nqt_cfg *cfg,
                                  const struct nqt_number *all, size_t n, struct nqt_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (host->cfg_int(cfg, all[i].name, all[i].out))
            return nqt_fail(err, NQT_E_CONFIG, "%s: no value", all[i].name);
    return NQT_OK;
}

/** Copy a text.
 *
 * @param needed  not 0: it must not be empty
 * @param out     `cap` bytes; "" when it is not set; untouched on failure
 * @return        0, or NQT_E_CONFIG with *err: no value, or too long for `out` */
static inline int nqt_cfg_text(const struct nqt_host *host, nqt_cfg *cfg, const char *name,
                               int needed, char *out, size_t cap, struct nqt_error *err)
{
    const char *text = NULL;

    if (host->cfg_str(cfg, name, &text) || !text)
        text = "";
    if (needed && !*text)
        return nqt_fail(err, NQT_E_CONFIG, "%s: no value", name);
    if (strlen(text) >= cap)
        return nqt_fail(err, NQT_E_CONFIG, "%s: longer than %zu bytes", name, cap - 1);
    memcpy(out, text, strlen(text) + 1);
    return NQT_OK;
}

/** Position of an ENUM's value in its NULL-terminated choices.
 *
 * @param ret  untouched on failure
 * @return     0, or NQT_E_CONFIG with *err: no value, or none of them */
static inline int nqt_cfg_choice(const struct nqt_host *host, nqt_cfg *cfg, const char *name,
                                 const char *const *choices, uint32_t *ret, struct nqt_error *err)
{
    const char *text = NULL;

    if (host->cfg_str(cfg, name, &text) || !text)
        return nqt_fail(err, NQT_E_CONFIG, "%s: no value", name);
    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *ret = i;
            return NQT_OK;
        }
    }
    return nqt_fail(err, NQT_E_CONFIG, "%s: not \"%.40s\"", name, text);
}

/** The files of the options `tls.ca`, `tls.cert` and `tls.key`; "" = not set. */
struct nqt_tls_files {
    char ca[NQT_PATH_MAX], cert[NQT_PATH_MAX], key[NQT_PATH_MAX];
};

/** Read them, each of which may be missing; 0, or NQT_E_CONFIG with *err: a path is too long, or
 *  one of certificate and key stands alone.  Opens no file. */
static inline int nqt_cfg_tls(const struct nqt_host *host, nqt_cfg *cfg, struct nqt_tls_files *out,
                              struct nqt_error *err)
{
    int rc = nqt_cfg_text(host, cfg, "tls.ca", 0, out->ca, sizeof(out->ca), err);

    if (!rc)
        rc = nqt_cfg_text(host, cfg, "tls.cert", 0, out->cert, sizeof(out->cert), err);
    if (!rc)
        rc = nqt_cfg_text(host, cfg, "tls.key", 0, out->key, sizeof(out->key), err);
    if (!rc && !*out->cert != !*out->key)
        rc = nqt_fail(err, NQT_E_CONFIG, "tls: \"cert\" and \"key\" go together");
    return rc;
}

#ifdef __cplusplus
}
#endif
#endif

#include "tests/support/fake_module.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct nqtest_fake nqtest_fake;

static struct nqtest_fake *const fake = &nqtest_fake;

void nqtest_fake_reset(void)
{
    memset(fake, 0, sizeof(*fake));
    fake->take = UINT32_MAX;
    fake->caps = NQT_CAP_GATHER;
}

void nqtest_fake_run(nqt_serial *serial, void (*fn)(void *arg), void *arg)
{
    struct nqi_strand *strand = nqi_strand_ref(((struct nqi_serial *)serial)->strand);
    bool inside = nqi_strand_inside(strand);

    ck_assert(inside || nqi_strand_try(strand));
    fn(arg);
    if (!inside)
        nqi_strand_leave(strand);
    nqi_strand_unref(strand);
}

/* ---- slots ---- */

static int fake_answer(int rc, struct nqt_error *err)
{
    if (rc < 0 && err) {
        err->code = rc;
        err->retry_ms = fake->retry_ms;
        if (fake->text)
            snprintf(err->text, sizeof(err->text), "%s", fake->text);
    }
    return rc;
}

static void fake_enter(nqt_serial *serial)
{
    ck_assert_msg(!fake->in_slot, "a slot inside a slot");
    ck_assert(fake->host->in_serial(serial));
    fake->in_slot = true;
    if (fake->inside)
        fake->inside(fake->inside_arg);
    fake->in_slot = false;
}

static int fake_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                         struct nqt_error *err)
{
    fake->mod_opens++;
    fake->host = host;
    fake->core = core;
    if (fake->mod_rc >= 0)
        *out = (struct nqtp_mod *)fake;
    return fake_answer(fake->mod_rc, err);
}

static void fake_mod_close(struct nqtp_mod *mod)
{
    ck_assert_ptr_eq(mod, fake);
    fake->mod_closes++;
}

static int fake_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                      struct nqt_error *err)
{
    ck_assert_ptr_eq(host, fake->host);
    ck_assert_ptr_eq(core, fake->core);
    ck_assert_uint_eq(fake->ep_opens, 0);
    (void)cfg;
    fake->checks++;
    return fake_answer(fake->check_rc, err);
}

static int fake_ep_open(struct nqtp_mod *mod, nqt_ep *ep, nqt_serial *serial, nqt_cfg *cfg,
                        int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    ck_assert_ptr_eq(mod, fake);
    (void)cfg;
    fake->ep_opens++;
    fake->ep = (struct nqtp_ep){.cookie = ep, .serial = serial, .listen = listen};
    fake_enter(serial);
    *out = &fake->ep;
    return fake_answer(fake->ep_rc, err);
}

static void fake_ep_close(struct nqtp_ep *ep)
{
    fake_enter(ep->serial);
    if (!ep->closes++ && !fake->keep_open)
        nqtest_fake_emit(NULL, NQT_EV_EP_CLOSED, 0, NULL);
}

static struct nqtp_link *fake_link_new(void)
{
    struct nqtp_link *link = &fake->links[fake->nlinks++ % NQTEST_FAKE_LINKS];

    memset(link, 0, sizeof(*link));
    return link;
}

static int fake_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial,
                        struct nqtp_link **out, struct nqt_error *err)
{
    struct nqtp_link *link = fake_link_new();

    ck_assert_ptr_eq(ep, &fake->ep);
    fake->connects++;
    link->cookie = cookie;
    link->serial = serial;
    fake_enter(serial);
    *out = link;
    return fake_answer(fake->connect_rc, err);
}

static int fake_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    ck_assert_ptr_null(link->cookie);
    fake->attaches++;
    link->serial = serial;
    if (fake->attach_rc >= 0)
        link->cookie = cookie;
    fake_enter(serial);
    return fake->attach_rc;
}

static void fake_keep(struct nqtp_link *link, const struct nqt_buf *buf)
{
    for (uint32_t i = 0; i < buf->nseg; i++) {
        size_t len = NQI_MIN(buf->seg[i].iov_len, sizeof(link->sent) - link->nsent);

        memcpy(link->sent + link->nsent, buf->seg[i].iov_base, len);
        link->nsent += len;
    }
}

/* What info() said, the core keeps to. */
static void fake_measure(struct nqt_buf *const *bufs, uint32_t n)
{
    uint32_t nseg = 0;

    for (uint32_t i = 0; i < n; i++) {
        ck_assert(fake->caps & NQT_CAP_GATHER || bufs[i]->nseg == 1);
        ck_assert(!fake->max_message || bufs[i]->len <= fake->max_message);
        nseg += bufs[i]->nseg;
    }
    ck_assert(!fake->max_seg || nseg <= fake->max_seg);
}

static int fake_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                     uint32_t flags, uint32_t *taken)
{
    (void)flags;
    fake->sends++;
    fake_measure(bufs, n);
    *taken = fake->take == UINT32_MAX ? n : fake->take;
    for (uint32_t i = 0; i < NQI_MIN(*taken, n); i++) {
        fake_keep(link, bufs[i]);
        bufs[i]->ops->unref(bufs[i]);
    }
    fake_enter(link->serial);
    return fake->send_rc;
}

static int fake_send_bytes(struct nqtp_link *link, const void *data, size_t len)
{
    const struct iovec seg = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    const struct nqt_buf buf = {.size = sizeof(buf), .nseg = 1, .len = len, .seg = &seg};

    fake->sends++;
    if (fake->bytes_rc > 0)
        fake_keep(link, &buf);
    fake_enter(link->serial);
    return fake->bytes_rc;
}

static int fake_loan(struct nqtp_link *link, size_t len, struct nqt_buf **out)
{
    (void)link;
    (void)len;
    if (!fake->loan)
        return NQT_E_NOMEM;
    *out = fake->loan;
    return NQT_OK;
}

static int fake_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold;
    return NQT_OK;
}

static int fake_rx_limit(struct nqtp_link *link, size_t len)
{
    link->limit = len;
    return NQT_OK;
}

static int fake_shutdown(struct nqtp_link *link)
{
    link->shutdowns++;
    return fake->shutdown_rc;
}

static void fake_close(struct nqtp_link *link)
{
    link->closes++;
    if (!link->cookie)
        return; /* refused */
    fake_enter(link->serial);
    if (link->closes == 1 && !fake->keep_open)
        nqtest_fake_emit(link, NQT_EV_LINK_CLOSED, 0, NULL);
}

static int fake_info(struct nqtp_link *link, struct nqt_info *out)
{
    (void)link;
    out->peer = "fake:peer";
    out->caps = nqtest_fake.caps;
    out->max_message = nqtest_fake.max_message;
    out->max_seg = nqtest_fake.max_seg;
    return NQT_OK;
}

static const void *fake_ext(struct nqtp_mod *mod, const char *id)
{
    (void)mod;
    (void)id;
    return NULL;
}

#define FAKE_OPS                                                                                  \
    .mod_open = fake_mod_open, .mod_close = fake_mod_close, .ep_open = fake_ep_open,              \
    .ep_close = fake_ep_close, .connect = fake_connect, .attach = fake_attach, .send = fake_send, \
    .close = fake_close, .info = fake_info, .ext = fake_ext

static const struct nqt_ops fake_ops = {.size = sizeof(struct nqt_ops),
                                        FAKE_OPS,
                                        .check = fake_check,
                                        .loan = fake_loan,
                                        .rx_hold = fake_rx_hold,
                                        .shutdown = fake_shutdown,
                                        .send_bytes = fake_send_bytes,
                                        .rx_limit = fake_rx_limit};
static const struct nqt_ops fake_bare_ops = {.size = sizeof(struct nqt_ops), FAKE_OPS};

#define FAKE_MODULE(table)                                                                         \
    {                                                                                              \
        .magic = NQT_MAGIC, .abi_major = 1, .size = sizeof(struct nqt_module),                     \
        .threading = NQT_THREADING_LOOP, .opt_size = sizeof(struct nqt_opt),                       \
        .caps = NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PLAIN, .name = "fake", \
        .version = "0", .wire = "fake", .license = "MIT", .summary = "For tests", .ops = &(table)  \
    }

const struct nqt_module *nqtest_fake_module(bool bare)
{
    static const struct nqt_module full = FAKE_MODULE(fake_ops);
    static const struct nqt_module less = FAKE_MODULE(fake_bare_ops);

    return bare ? &less : &full;
}

/* ---- events ---- */

static struct nqt_event fake_event(struct nqtp_link *link, uint32_t kind)
{
    return (struct nqt_event){.size = sizeof(struct nqt_event),
                              .kind = kind,
                              .ep = fake->ep.cookie,
                              .link = link ? link->cookie : NULL,
                              .epoch = 1};
}

int nqtest_fake_emit(struct nqtp_link *link, uint32_t kind, int code, const char *text)
{
    struct nqt_event event = fake_event(link, kind);
    struct nqt_error err = {.size = sizeof(err), .code = code, .retry_ms = fake->retry_ms};

    if (text)
        snprintf(err.text, sizeof(err.text), "%s", text);
    if (code)
        event.err = &err;
    else
        event.peer_name = text;
    return fake->host->emit(fake->core, &event, 1);
}

struct fake_call {
    struct nqtp_link *link;
    uint32_t kind;
    int code;
    const char *text;
    const uint8_t *data;
    size_t len;
    int rc;
};

static void fake_run_emit(void *arg)
{
    struct fake_call *call = arg;

    ck_assert_int_eq(nqtest_fake_emit(call->link, call->kind, call->code, call->text), NQT_OK);
}

void nqtest_fake_emit_inside(struct nqtp_link *link, uint32_t kind, int code, const char *text)
{
    struct fake_call call = {.link = link, .kind = kind, .code = code, .text = text};

    nqtest_fake_run(link ? link->serial : fake->ep.serial, fake_run_emit, &call);
}

static void fake_run_accept(void *arg)
{
    struct fake_call *call = arg;
    struct nqt_event event = fake_event(NULL, NQT_EV_ACCEPT);

    event.plink = call->link;
    event.peer_name = call->text;
    ck_assert_int_eq(fake->host->emit(fake->core, &event, 1), NQT_OK);
}

struct nqtp_link *nqtest_fake_accept(const char *peer)
{
    struct fake_call call = {.link = fake_link_new(), .text = peer};

    nqtest_fake_run(fake->ep.serial, fake_run_accept, &call);
    return call.link;
}

static void fake_run_rx(void *arg)
{
    struct fake_call *call = arg;
    struct nqt_event event = fake_event(call->link, NQT_EV_RX);
    struct nqt_buf *buf = fake->host->buf_new(fake->core, call->len);

    ck_assert_ptr_nonnull(buf);
    memcpy(buf->seg[0].iov_base, call->data, call->len);
    event.nbuf = 1;
    event.buf = &buf;
    ck_assert_int_eq(fake->host->emit(fake->core, &event, 1), NQT_OK);
}

void nqtest_fake_rx(struct nqtp_link *link, const void *data, size_t len)
{
    struct fake_call call = {.link = link, .data = data, .len = len};

    nqtest_fake_run(link->serial, fake_run_rx, &call);
}

static void fake_run_read(void *arg)
{
    struct fake_call *call = arg;

    while (call->len && !call->rc) {
        struct iovec iov[8];
        uint32_t niov = 8;
        size_t filled = 0;

        call->rc = fake->host->rx_space(call->link->cookie, 0, iov, &niov);
        if (call->rc)
            return;
        ck_assert_uint_le(niov, 8);
        for (uint32_t i = 0; i < niov && call->len; i++) {
            size_t len = NQI_MIN(iov[i].iov_len, call->len);

            memcpy(iov[i].iov_base, call->data, len);
            call->data += len;
            call->len -= len;
            filled += len;
        }
        call->rc = fake->host->rx_commit(call->link->cookie, filled);
    }
}

int nqtest_fake_read(struct nqtp_link *link, const void *data, size_t len)
{
    struct fake_call call = {.link = link, .data = data, .len = len};

    nqtest_fake_run(link->serial, fake_run_read, &call);
    return call.rc;
}

/* ---- a room for it ---- */

struct nqtest_fake_room nqtest_fake_room;

static void room_on_up(void *arg, const char *address)
{
    (void)arg;
    (void)address;
}

static void room_on_down(void *arg, const struct nqt_error *err)
{
    (void)arg;
    (void)err;
}

static void room_on_accepted(void *arg, struct nqtp_link *plink, const char *peer_name)
{
    (void)arg;
    (void)peer_name;
    nqtest_fake_room.accepted = plink;
}

static void room_on_closed(void *arg)
{
    (void)arg;
    nqtest_fake_room.closed = true;
}

static const struct nqi_ep_events room_events = {
    .up = room_on_up, .down = room_on_down, .accepted = room_on_accepted, .closed = room_on_closed};

static void room_open(bool bare, bool listen)
{
    struct nqtest_fake_room *room = &nqtest_fake_room;

    memset(room, 0, sizeof(*room));
    nqtest_fake_reset();
    ck_assert_int_eq(nqi_loop_new(&room->loop), NQ_OK);
    ck_assert_int_eq(nqi_transport_open(nqtest_fake_module(bare), NULL, &room->core), NQ_OK);
    ck_assert_int_eq(nqi_ep_open(room->core, room->loop, listen, &room_events, NULL, &room->ep),
                     NQ_OK);
}

void nqtest_fake_open(bool bare)
{
    room_open(bare, true);
}

void nqtest_fake_open_client(void)
{
    room_open(false, false);
}

void nqtest_fake_close(void)
{
    struct nqtest_fake_room *room = &nqtest_fake_room;

    nqi_ep_close(room->ep);
    nqtest_fake_turn();
    ck_assert(room->closed);
    nqi_transport_close(room->core);
    nqi_loop_free(room->loop);
}

void nqtest_fake_turn(void)
{
    unsigned turns = 0;

    while (nqi_loop_turn(nqtest_fake_room.loop) || nqi_loop_pending(nqtest_fake_room.loop))
        ck_assert_uint_lt(++turns, 1000);
}

/* ---- time ---- */

static int64_t room_time = 1000 * NQI_NS_PER_S;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts); /* the linker's name */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    ts->tv_sec = room_time / NQI_NS_PER_S;
    ts->tv_nsec = room_time % NQI_NS_PER_S;
    return 0;
}

void nqtest_fake_pass(int64_t ns)
{
    room_time += ns;
    nqtest_fake_turn();
}

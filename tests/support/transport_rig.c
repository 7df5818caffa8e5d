#include "tests/support/transport_rig.h"

#include "core/pool.h"
#include <check.h>
#include <netqueue/log.h>
#include <stdio.h>
#include <string.h>

struct nqtest_transport nqtest_transport;

static struct nqtest_transport *const t = &nqtest_transport;

static void on_log(void *arg, nq_log_level level, const char *line)
{
    (void)arg;
    if (level > NQ_LOG_ERROR)
        return;
    t->complaints++;
    snprintf(t->complaint, sizeof(t->complaint), "%s", line);
}

/* ---- events ---- */

static void see(struct nqtest_seen *seen)
{
    ck_assert_msg(!nqtest_fake.in_slot, "an event inside a slot");
    ck_assert_uint_eq(seen->closed, 0);
    seen->order++;
}

static void see_down(struct nqtest_seen *seen, const struct nqt_error *err)
{
    see(seen);
    seen->downs++;
    seen->downed = seen->order;
    seen->code = err->code;
    snprintf(seen->text, sizeof(seen->text), "%s", err->text);
}

static void ep_on_up(void *arg, const char *address)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->ups++;
    snprintf(seen->text, sizeof(seen->text), "%s", address);
}

static void ep_on_down(void *arg, const struct nqt_error *err)
{
    see_down(arg, err);
}

static void ep_on_closed(void *arg)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->closed++;
}

static void ep_on_accepted(void *arg, struct nqtp_link *link, const char *peer_name)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->accepted++;
    seen->plink = link;
    snprintf(seen->text, sizeof(seen->text), "%s", peer_name);
}

const struct nqi_ep_events nqtest_transport_ep_events = {
    .up = ep_on_up, .down = ep_on_down, .closed = ep_on_closed, .accepted = ep_on_accepted};

static void link_on_up(void *arg)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->ups++;
}

static void link_on_writable(void *arg)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->writables++;
}

static nq_err see_bytes(struct nqtest_seen *seen, const void *data, size_t len)
{
    memcpy(seen->bytes + seen->nbytes, data, len);
    seen->nbytes += len;
    if (seen->close_inside)
        nqi_tlink_close(seen->close);
    return seen->err;
}

static nq_err link_on_message(void *arg, struct nqt_buf *buf)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->messages++;
    return see_bytes(seen, buf->seg[0].iov_base, buf->seg[0].iov_len);
}

static nq_err link_on_space(void *arg, struct iovec *iov, uint32_t *niov)
{
    struct nqtest_seen *seen = arg;
    size_t piece = seen->piece ? seen->piece : seen->room;

    seen->spaces++;
    if (seen->space_err)
        return seen->space_err;
    *niov = 0;
    for (size_t at = 0; at < seen->room; at += piece)
        iov[(*niov)++] = (struct iovec){seen->memory + at, NQI_MIN(piece, seen->room - at)};
    return NQ_OK;
}

static nq_err link_on_commit(void *arg, size_t len)
{
    struct nqtest_seen *seen = arg;

    seen->commits++;
    ck_assert_uint_le(len, seen->room);
    return see_bytes(seen, seen->memory, len);
}

static nq_err link_on_give(void *arg, struct nqt_buf *buf)
{
    struct nqtest_seen *seen = arg;

    seen->gives++;
    return see_bytes(seen, buf->seg[0].iov_base, buf->seg[0].iov_len);
}

static nq_err link_on_receive(void *arg, const uint8_t *data, size_t len)
{
    return see_bytes(arg, data, len);
}

static void link_on_down(void *arg, const struct nqt_error *err)
{
    struct nqtest_seen *seen = arg;

    see_down(seen, err);
    if (seen->close)
        nqi_tlink_close(seen->close);
}

static void link_on_closed(void *arg)
{
    struct nqtest_seen *seen = arg;

    see(seen);
    seen->closed++;
}

const struct nqi_tlink_events nqtest_transport_events = {.up = link_on_up,
                                                         .writable = link_on_writable,
                                                         .message = link_on_message,
                                                         .space = link_on_space,
                                                         .commit = link_on_commit,
                                                         .give = link_on_give,
                                                         .receive = link_on_receive,
                                                         .down = link_on_down,
                                                         .closed = link_on_closed};

/* ---- fixture ---- */

void nqtest_transport_turn(void)
{
    for (unsigned i = 0; i < 100; i++)
        nqi_loop_turn(t->loop);
    ck_assert(!nqi_loop_pending(t->loop));
}

void nqtest_transport_open(bool bare)
{
    ck_assert_int_eq(nqi_transport_open(nqtest_fake_module(bare), NULL, &t->core), NQ_OK);
}

void nqtest_transport_setup_module(void)
{
    nqtest_fake_reset();
    memset(&t->on_ep, 0, sizeof(t->on_ep));
    memset(&t->on_link, 0, sizeof(t->on_link));
    t->complaints = 0;
    t->on_link.room = 100;
    nq_log_set(on_log, NULL, NQ_LOG_ERROR);
    ck_assert_int_eq(nqi_loop_new(&t->loop), NQ_OK);
}

void nqtest_transport_teardown_module(void)
{
    nqi_pool_fail_after(0);
    nqi_transport_close(t->core);
    t->core = NULL;
    nqi_loop_free(t->loop);
    ck_assert_uint_eq(nqtest_fake.mod_closes, nqtest_fake.mod_opens);
}

void nqtest_transport_open_endpoint(void)
{
    ck_assert_int_eq(
        nqi_ep_open(t->core, t->loop, true, &nqtest_transport_ep_events, &t->on_ep, &t->ep), NQ_OK);
}

void nqtest_transport_setup_endpoint(void)
{
    nqtest_transport_setup_module();
    nqtest_transport_open(false);
    nqtest_transport_open_endpoint();
}

void nqtest_transport_teardown_endpoint(void)
{
    nqi_pool_fail_after(0);
    if (!t->on_ep.closed) {
        nqi_ep_close(t->ep);
        nqtest_transport_turn();
    }
    ck_assert_uint_eq(t->on_ep.closed, 1);
    nqtest_transport_teardown_module();
}

/* Run something in the t->strand of our links. */
void nqtest_transport_enter(void)
{
    ck_assert(nqi_strand_try(t->strand));
}

void nqtest_transport_leave(void)
{
    nqi_strand_leave(t->strand);
}

nq_err nqtest_transport_connect(void)
{
    nq_err err;

    nqtest_transport_enter();
    err = nqi_tlink_connect(t->ep, t->strand, t->loop, &nqtest_transport_events, &t->on_link,
                            &t->tlink);
    nqtest_transport_leave();
    if (!err)
        t->plink = &nqtest_fake.links[nqtest_fake.nlinks - 1];
    t->on_link.close = err ? NULL : t->tlink;
    return err;
}

void nqtest_transport_up(void)
{
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_UP, 0, NULL);
    ck_assert_uint_eq(t->on_link.ups, 1);
}

void nqtest_transport_close(void)
{
    nqtest_transport_enter();
    nqi_tlink_close(t->tlink);
    nqtest_transport_leave();
    nqtest_transport_turn();
}

void nqtest_transport_setup_link(void)
{
    nqtest_transport_setup_endpoint();
    t->strand = nqi_strand_new();
    ck_assert_ptr_nonnull(t->strand);
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_transport_up();
}

void nqtest_transport_teardown_link(void)
{
    if (!t->on_link.closed)
        nqtest_transport_close();
    ck_assert_uint_eq(t->on_link.closed, 1);
    nqi_strand_unref(t->strand);
    nqtest_transport_teardown_endpoint();
}

void nqtest_transport_check_breach(void)
{
    nqtest_transport_turn();
    ck_assert_uint_ge(t->complaints, 1);
    ck_assert_ptr_nonnull(strstr(t->complaint, "fake"));
    ck_assert_uint_eq(t->on_link.downs, 1);
    ck_assert_int_eq(t->on_link.code, NQT_E_INVAL);
    ck_assert_uint_eq(t->on_link.closed, 1);
    ck_assert_uint_eq(t->plink->closes, 1);
}

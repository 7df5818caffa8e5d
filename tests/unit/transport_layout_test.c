/* The layout of the transport ABI is frozen: a plugin that was built once is loaded by every later
 * core of the same major, and the reverse.  Where a struct of <netqueue/transport.h> grows, rows
 * are added at its end and its size changes here; no other number ever does. */
#include "tests/support/suite.h"
#include <check.h>
#include <netqueue/transport.h>

struct row {
    const char *name;
    size_t is, frozen;
};

/* clang-format off */
#define AT(type, member, offset) {#type "." #member, offsetof(struct type, member), offset}
#define SIZE(type, size) {#type, sizeof(struct type), size}
/* clang-format on */

/* Where pointers and size_t have 8 bytes. */
static const struct row rows[] = {
    SIZE(nqt_error, 256),
    AT(nqt_error, size, 0),
    AT(nqt_error, code, 4),
    AT(nqt_error, retry_ms, 8),
    AT(nqt_error, rsv, 12),
    AT(nqt_error, native, 16),
    AT(nqt_error, domain, 24),
    AT(nqt_error, text, 40),

    SIZE(nqt_buf_ops, 24),
    AT(nqt_buf_ops, size, 0),
    AT(nqt_buf_ops, rsv, 4),
    AT(nqt_buf_ops, ref, 8),
    AT(nqt_buf_ops, unref, 16),

    SIZE(nqt_buf, 40),
    AT(nqt_buf, size, 0),
    AT(nqt_buf, flags, 4),
    AT(nqt_buf, nseg, 8),
    AT(nqt_buf, rsv, 12),
    AT(nqt_buf, len, 16),
    AT(nqt_buf, seg, 24),
    AT(nqt_buf, ops, 32),

    SIZE(nqt_opt, 72),
    AT(nqt_opt, name, 0),
    AT(nqt_opt, def, 8),
    AT(nqt_opt, unit, 16),
    AT(nqt_opt, help, 24),
    AT(nqt_opt, choices, 32),
    AT(nqt_opt, min, 40),
    AT(nqt_opt, max, 48),
    AT(nqt_opt, type, 56),
    AT(nqt_opt, flags, 60),
    AT(nqt_opt, since_minor, 64),
    AT(nqt_opt, rsv, 68),

    SIZE(nqt_event, 72),
    AT(nqt_event, size, 0),
    AT(nqt_event, kind, 4),
    AT(nqt_event, ep, 8),
    AT(nqt_event, link, 16),
    AT(nqt_event, epoch, 24),
    AT(nqt_event, nbuf, 32),
    AT(nqt_event, rsv, 36),
    AT(nqt_event, buf, 40),
    AT(nqt_event, plink, 48),
    AT(nqt_event, peer_name, 56),
    AT(nqt_event, err, 64),

    SIZE(nqt_health, 16),
    AT(nqt_health, size, 0),
    AT(nqt_health, state, 4),
    AT(nqt_health, text, 8),

    SIZE(nqt_addr, 16),
    AT(nqt_addr, size, 0),
    AT(nqt_addr, len, 4),
    AT(nqt_addr, addr, 8),

    SIZE(nqt_host, 208),
    AT(nqt_host, size, 0),
    AT(nqt_host, abi_major, 4),
    AT(nqt_host, abi_minor, 6),
    AT(nqt_host, log, 8),
    AT(nqt_host, mem, 16),
    AT(nqt_host, buf_new, 24),
    AT(nqt_host, now_ns, 32),
    AT(nqt_host, post, 40),
    AT(nqt_host, in_serial, 48),
    AT(nqt_host, emit, 56),
    AT(nqt_host, count, 64),
    AT(nqt_host, ext, 72),
    AT(nqt_host, cfg_int, 80),
    AT(nqt_host, cfg_str, 88),
    AT(nqt_host, cfg_list, 96),
    AT(nqt_host, fd_add, 104),
    AT(nqt_host, fd_mod, 112),
    AT(nqt_host, fd_del, 120),
    AT(nqt_host, timer_add, 128),
    AT(nqt_host, timer_set, 136),
    AT(nqt_host, timer_del, 144),
    AT(nqt_host, resolve, 152),
    AT(nqt_host, rx_space, 160),
    AT(nqt_host, rx_commit, 168),
    AT(nqt_host, cfg_inner, 176),
    AT(nqt_host, health, 184),
    AT(nqt_host, rx_give, 192),
    AT(nqt_host, rx_bytes, 200),

    SIZE(nqt_info, 48),
    AT(nqt_info, size, 0),
    AT(nqt_info, max_seg, 4),
    AT(nqt_info, caps, 8),
    AT(nqt_info, max_message, 16),
    AT(nqt_info, local, 24),
    AT(nqt_info, peer, 32),
    AT(nqt_info, peer_identity, 40),

    SIZE(nqt_ops, 168),
    AT(nqt_ops, size, 0),
    AT(nqt_ops, rsv, 4),
    AT(nqt_ops, mod_open, 8),
    AT(nqt_ops, mod_close, 16),
    AT(nqt_ops, check, 24),
    AT(nqt_ops, ep_open, 32),
    AT(nqt_ops, ep_close, 40),
    AT(nqt_ops, connect, 48),
    AT(nqt_ops, attach, 56),
    AT(nqt_ops, send, 64),
    AT(nqt_ops, loan, 72),
    AT(nqt_ops, rx_hold, 80),
    AT(nqt_ops, shutdown, 88),
    AT(nqt_ops, close, 96),
    AT(nqt_ops, info, 104),
    AT(nqt_ops, ext, 112),
    AT(nqt_ops, poll, 120),
    AT(nqt_ops, poll_wake, 128),
    AT(nqt_ops, rx_poll, 136),
    AT(nqt_ops, rx_arm, 144),
    AT(nqt_ops, rx_limit, 152),
    AT(nqt_ops, send_bytes, 160),

    SIZE(nqt_module, 88),
    AT(nqt_module, magic, 0),
    AT(nqt_module, size, 4),
    AT(nqt_module, abi_major, 8),
    AT(nqt_module, needs_minor, 10),
    AT(nqt_module, threading, 12),
    AT(nqt_module, nopt, 16),
    AT(nqt_module, opt_size, 20),
    AT(nqt_module, caps, 24),
    AT(nqt_module, name, 32),
    AT(nqt_module, version, 40),
    AT(nqt_module, wire, 48),
    AT(nqt_module, license, 56),
    AT(nqt_module, summary, 64),
    AT(nqt_module, opt, 72),
    AT(nqt_module, ops, 80),
};

START_TEST(nothing_has_moved)
{
    ck_assert_msg(rows[_i].is == rows[_i].frozen, "%s: %zu, but %zu is frozen", rows[_i].name,
                  rows[_i].is, rows[_i].frozen);
}
END_TEST

struct number {
    const char *name;
    int64_t is, frozen;
};

/* clang-format off */
#define IS(macro, value) {#macro, macro, value}
/* clang-format on */

static const struct number numbers[] = {
    IS(NQT_MAGIC, 0x4e515400),
    IS(NQT_OK, 0),
    IS(NQT_E_NOMEM, -1),
    IS(NQT_E_CONFIG, -2),
    IS(NQT_E_SYS, -3),
    IS(NQT_E_REFUSED, -4),
    IS(NQT_E_UNREACHABLE, -5),
    IS(NQT_E_LOST, -6),
    IS(NQT_E_EOF, -7),
    IS(NQT_E_PROTOCOL, -8),
    IS(NQT_E_AUTH, -9),
    IS(NQT_E_UNSUPPORTED, -10),
    IS(NQT_E_CLOSED, -11),
    IS(NQT_E_INVAL, -12),
    IS(NQT_BUF_SCARCE, 1),
    IS(NQT_OPT_BOOL, 1),
    IS(NQT_OPT_INT, 2),
    IS(NQT_OPT_SIZE, 3),
    IS(NQT_OPT_DURATION, 4),
    IS(NQT_OPT_STR, 5),
    IS(NQT_OPT_ENUM, 6),
    IS(NQT_OPT_PATH, 7),
    IS(NQT_OPT_LIST, 8),
    IS(NQT_OPT_TRANSPORT, 9),
    IS(NQT_OPT_REQUIRED, 1),
    IS(NQT_OPT_SECRET, 2),
    IS(NQT_EV_EP_UP, 1),
    IS(NQT_EV_EP_DOWN, 2),
    IS(NQT_EV_EP_CLOSED, 3),
    IS(NQT_EV_ACCEPT, 4),
    IS(NQT_EV_LINK_UP, 5),
    IS(NQT_EV_WRITABLE, 6),
    IS(NQT_EV_RX, 7),
    IS(NQT_EV_LINK_DOWN, 8),
    IS(NQT_EV_LINK_CLOSED, 9),
    IS(NQT_COUNT_SEND_CALLS, 1),
    IS(NQT_COUNT_RECV_CALLS, 2),
    IS(NQT_COUNT_SHARED_BYTES, 3),
    IS(NQT_HEALTH_IDLE, 0),
    IS(NQT_HEALTH_CONNECTING, 1),
    IS(NQT_HEALTH_READY, 2),
    IS(NQT_HEALTH_FAILING, 3),
    IS(NQT_HEALTH_CLOSED, 4),
    IS(NQT_LOG_ERROR, 0),
    IS(NQT_LOG_WARN, 1),
    IS(NQT_LOG_INFO, 2),
    IS(NQT_LOG_DEBUG, 3),
    IS(NQT_RESOLVE_PASSIVE, 1),
    IS(NQT_POLL_EDGE, INT64_C(1) << 30),
    IS(NQT_WIRE_NATIVE, 0),
    IS(NQT_WIRE_PLAIN, 1),
    IS(NQT_WIRE_BOTH, 2),
    IS(NQT_CAP_STREAM, INT64_C(1) << 0),
    IS(NQT_CAP_MESSAGE, INT64_C(1) << 1),
    IS(NQT_CAP_LISTEN, INT64_C(1) << 2),
    IS(NQT_CAP_CONNECT, INT64_C(1) << 3),
    IS(NQT_CAP_BROKERED, INT64_C(1) << 4),
    IS(NQT_CAP_PEER_PRESENCE, INT64_C(1) << 5),
    IS(NQT_CAP_PEER_IDENTITY, INT64_C(1) << 6),
    IS(NQT_CAP_CONFIDENTIAL, INT64_C(1) << 7),
    IS(NQT_CAP_GATHER, INT64_C(1) << 8),
    IS(NQT_CAP_LOAN_TX, INT64_C(1) << 9),
    IS(NQT_CAP_RX_HOLD, INT64_C(1) << 10),
    IS(NQT_CAP_DRAIN, INT64_C(1) << 11),
    IS(NQT_CAP_LOCAL_ONLY, INT64_C(1) << 12),
    IS(NQT_CAP_LOSSY, INT64_C(1) << 13),
    IS(NQT_CAP_PLAIN, INT64_C(1) << 14),
    IS(NQT_SEND_MORE, 1),
    IS(NQT_THREADING_LOOP, 1),
    IS(NQT_THREADING_OWN, 2),
};

START_TEST(no_number_means_something_else)
{
    ck_assert_msg(numbers[_i].is == numbers[_i].frozen, "%s: %lld, but %lld is frozen",
                  numbers[_i].name, (long long)numbers[_i].is, (long long)numbers[_i].frozen);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_layout");
    TCase *tcase = tcase_create("transport_layout");

    if (sizeof(void *) == 8)
        tcase_add_loop_test(tcase, nothing_has_moved, 0, (int)(sizeof(rows) / sizeof(rows[0])));
    tcase_add_loop_test(tcase, no_number_means_something_else, 0,
                        (int)(sizeof(numbers) / sizeof(numbers[0])));
    suite_add_tcase(suite, tcase);
    return suite;
}

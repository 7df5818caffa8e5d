/* include/netqueue/transport_kit.h: over a host that remembers what it was asked for. */
#include "tests/support/suite.h"
#include <check.h>
#include <netqueue/transport_kit.h>
#include <stdbool.h>
#include <stdlib.h>

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
};

struct nqtp_ep {
    struct nqtp_mod *mod;
    nqt_ep *cookie;
};

struct nqtp_link {
    struct nqtp_ep *ep;
    nqt_link *cookie;
    uint64_t epoch;
    char peer[16];
};

static struct {
    char log[2 * NQT_LOG_MAX];
    uint32_t level;
    struct nqt_event event;
    int emitted, answer;
    bool no_memory, no_timer;
    struct nqt_health health;
    int tellings;
    int timers; /* that live */
    int64_t at_ns;
} seen;

static int core_of_test, serial_of_test;
#define CORE ((nqt_core *)&core_of_test)
#define SERIAL ((nqt_serial *)&serial_of_test)

static void host_log(nqt_core *core, uint32_t level, const char *text)
{
    ck_assert_ptr_eq(core, CORE);
    ck_assert_uint_lt(strlen(text), sizeof(seen.log));
    memcpy(seen.log, text, strlen(text) + 1);
    seen.level = level;
}

static void *host_mem(nqt_core *core, void *old, size_t len)
{
    void *mem = NULL;

    ck_assert_ptr_eq(core, CORE);
    if (!len)
        free(old);
    else if (!seen.no_memory)
        mem = malloc(len);
    if (mem)
        memset(mem, 0xa5, len);
    return mem;
}

static int64_t host_now(nqt_core *core)
{
    (void)core;
    return 1000;
}

static int host_emit(nqt_core *core, const struct nqt_event *event, uint32_t n)
{
    ck_assert_ptr_eq(core, CORE);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(event->size, sizeof(*event));
    seen.event = *event;
    seen.emitted++;
    return seen.answer;
}

static void host_health(nqt_ep *cookie, const struct nqt_health *health)
{
    ck_assert_ptr_nonnull(cookie);
    seen.health = *health;
    seen.tellings++;
}

static int host_timer_add(nqt_serial *serial, void (*fn)(void *), void *arg, nqt_watch **out)
{
    (void)fn;
    ck_assert_ptr_eq(serial, SERIAL);
    *out = arg;
    if (seen.no_timer)
        return NQT_E_NOMEM;
    seen.timers++;
    return NQT_OK;
}

static void host_timer_set(nqt_watch *watch, int64_t at_ns)
{
    ck_assert_ptr_nonnull(watch);
    seen.at_ns = at_ns;
}

static void host_timer_del(nqt_watch *watch)
{
    ck_assert_ptr_nonnull(watch);
    seen.timers--;
}

/* The configuration: what "no" names is not set, "empty" is. */
static int host_cfg_int(nqt_cfg *cfg, const char *name, int64_t *out)
{
    (void)cfg;
    if (strcmp(name, "no") == 0)
        return NQT_E_CONFIG;
    *out = (int64_t)strlen(name);
    return NQT_OK;
}

static const char *cert_of_test, *key_of_test;

static int host_cfg_str(nqt_cfg *cfg, const char *name, const char **out)
{
    (void)cfg;
    *out = name;
    if (strcmp(name, "empty") == 0)
        *out = "";
    if (strcmp(name, "tls.cert") == 0)
        *out = cert_of_test;
    if (strcmp(name, "tls.key") == 0)
        *out = key_of_test;
    return !*out || strcmp(name, "no") == 0 ? NQT_E_CONFIG : NQT_OK;
}

static const struct nqt_host host = {
    .size = sizeof(struct nqt_host),
    .log = host_log,
    .mem = host_mem,
    .now_ns = host_now,
    .emit = host_emit,
    .timer_add = host_timer_add,
    .timer_set = host_timer_set,
    .timer_del = host_timer_del,
    .cfg_int = host_cfg_int,
    .cfg_str = host_cfg_str,
    .health = host_health,
};

static struct nqtp_mod mod = {.host = &host, .core = CORE};
static struct nqtp_ep ep = {.mod = &mod, .cookie = (nqt_ep *)&ep};
static struct nqtp_link of = {.ep = &ep, .cookie = (nqt_link *)&of, .epoch = 7, .peer = "them"};

static void setup(void)
{
    memset(&seen, 0, sizeof(seen));
    cert_of_test = key_of_test = NULL;
}

static void fn_of_test(void *arg)
{
    (void)arg;
}

/* ---- errors and lines ------------------------------------------------------------------- */

START_TEST(failure_is_told_and_handed_up)
{
    struct nqt_error err = {.size = sizeof(err), .native = 9, .domain = "x", .retry_ms = 3};

    ck_assert_int_eq(nqt_fail(&err, NQT_E_CONFIG, "port: %d", 70000), NQT_E_CONFIG);
    ck_assert_uint_eq(err.size, sizeof(err));
    ck_assert_int_eq(err.code, NQT_E_CONFIG);
    ck_assert_str_eq(err.text, "port: 70000");
    ck_assert_str_eq(err.domain, "");
    ck_assert_int_eq(err.native, 0);
    ck_assert_uint_eq(err.retry_ms, 0);
}
END_TEST

START_TEST(failure_of_the_system_has_its_number)
{
    struct nqt_error err = {.size = sizeof(err)};

    ck_assert_int_eq(nqt_fail_native(&err, NQT_E_SYS, "errno", 13, "no"), NQT_E_SYS);
    ck_assert_str_eq(err.domain, "errno");
    ck_assert_int_eq(err.native, 13);
    nqt_fail_native(&err, NQT_E_SYS, "0123456789abcdef", 1, "no");
    ck_assert_str_eq(err.domain, "0123456789abcde");
    nqt_fail_native(&err, NQT_E_SYS, "errno", 0, "no");
    ck_assert_str_eq(err.domain, "");
}
END_TEST

START_TEST(failure_for_an_older_caller_leaves_its_memory)
{
    struct nqt_error err = {.size = sizeof(err) - 1, .code = 5};

    ck_assert_int_eq(nqt_fail(&err, NQT_E_LOST, "no"), NQT_E_LOST);
    ck_assert_int_eq(err.code, 5);
    ck_assert_int_eq(nqt_fail(NULL, NQT_E_LOST, "no"), NQT_E_LOST);
}
END_TEST

START_TEST(long_texts_are_cut)
{
    struct nqt_error err = {.size = sizeof(err)};
    char text[1000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    nqt_fail(&err, NQT_E_LOST, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
    nqt_log(&host, CORE, NQT_LOG_WARN, "%s", text);
    ck_assert_uint_eq(strlen(seen.log), NQT_LOG_MAX - 1);
    ck_assert_uint_eq(seen.level, NQT_LOG_WARN);
}
END_TEST

/* ---- memory, timers --------------------------------------------------------------------- */

START_TEST(memory_is_zeroed_and_may_be_missing)
{
    char *mem = nqt_alloc(&host, CORE, 100);

    ck_assert_ptr_nonnull(mem);
    for (size_t i = 0; i < 100; i++)
        ck_assert_int_eq(mem[i], 0);
    nqt_free(&host, CORE, mem);
    nqt_free(&host, CORE, NULL);
    seen.no_memory = true;
    ck_assert_ptr_null(nqt_alloc(&host, CORE, 100));
}
END_TEST

START_TEST(timer_runs_from_now_until_it_is_stopped)
{
    nqt_watch *timer = NULL;

    ck_assert_int_eq(nqt_timer_start(&host, CORE, SERIAL, fn_of_test, &seen, 50, &timer), NQT_OK);
    ck_assert_int_eq(seen.at_ns, 1050);
    nqt_timer_stop(&host, &timer);
    ck_assert_ptr_null(timer);
    nqt_timer_stop(&host, &timer);
    ck_assert_int_eq(seen.timers, 0);
}
END_TEST

START_TEST(timer_that_fails_is_none)
{
    nqt_watch *timer = (nqt_watch *)&seen;

    seen.no_timer = true;
    ck_assert_int_eq(nqt_timer_start(&host, CORE, SERIAL, fn_of_test, &seen, 50, &timer),
                     NQT_E_NOMEM);
    ck_assert_ptr_null(timer);
}
END_TEST

/* ---- events ----------------------------------------------------------------------------- */

START_TEST(event_of_a_link_says_whose_it_is)
{
    struct nqt_buf *bufs[2] = {NULL, NULL};

    seen.answer = NQT_E_NOMEM;
    ck_assert_int_eq(NQT_EMIT_LINK(&of, NQT_EV_RX, .nbuf = 2, .buf = bufs), NQT_E_NOMEM);
    ck_assert_uint_eq(seen.event.kind, NQT_EV_RX);
    ck_assert_ptr_eq(seen.event.ep, ep.cookie);
    ck_assert_ptr_eq(seen.event.link, of.cookie);
    ck_assert_ptr_eq(seen.event.plink, &of);
    ck_assert_uint_eq(seen.event.epoch, 7);
    ck_assert_str_eq(seen.event.peer_name, "them");
    ck_assert_uint_eq(seen.event.nbuf, 2);
    ck_assert_ptr_eq(seen.event.buf, bufs);
    ck_assert_ptr_null(seen.event.err);
}
END_TEST

START_TEST(event_of_an_endpoint_has_no_link)
{
    const struct nqt_error err = {.size = sizeof(err)};

    ck_assert_int_eq(NQT_EMIT_EP(&ep, NQT_EV_EP_DOWN, .err = &err), 0);
    ck_assert_uint_eq(seen.event.kind, NQT_EV_EP_DOWN);
    ck_assert_ptr_eq(seen.event.ep, ep.cookie);
    ck_assert_ptr_null(seen.event.link);
    ck_assert_ptr_null(seen.event.plink);
    ck_assert_ptr_eq(seen.event.err, &err);
    nqt_emit_ep_closed(&host, CORE, ep.cookie);
    ck_assert_uint_eq(seen.event.kind, NQT_EV_EP_CLOSED);
    ck_assert_ptr_eq(seen.event.ep, ep.cookie);
    ck_assert_int_eq(seen.emitted, 2);
}
END_TEST

START_TEST(health_is_told_to_cores_that_want_to_know)
{
    struct nqt_host old = host;

    nqt_tell_health(&host, ep.cookie, NQT_HEALTH_FAILING, "no broker");
    ck_assert_int_eq(seen.tellings, 1);
    ck_assert_uint_eq(seen.health.size, sizeof(seen.health));
    ck_assert_uint_eq(seen.health.state, NQT_HEALTH_FAILING);
    ck_assert_str_eq(seen.health.text, "no broker");
    old.size = offsetof(struct nqt_host, health);
    nqt_tell_health(&old, ep.cookie, NQT_HEALTH_READY, NULL);
    old.size = sizeof(old);
    old.health = NULL;
    nqt_tell_health(&old, ep.cookie, NQT_HEALTH_READY, NULL);
    ck_assert_int_eq(seen.tellings, 1);
}
END_TEST

/* ---- slots ------------------------------------------------------------------------------ */

START_TEST(info_is_for_callers_that_know_all_of_it)
{
    struct nqt_info info = {.size = sizeof(info), .max_seg = 9, .peer_identity = "x"};

    ck_assert_int_eq(nqt_info_answer(&info, NQT_CAP_STREAM, 3, "us", "them"), NQT_OK);
    ck_assert_uint_eq(info.size, sizeof(info));
    ck_assert_uint_eq(info.caps, NQT_CAP_STREAM);
    ck_assert_uint_eq(info.max_message, 3);
    ck_assert_uint_eq(info.max_seg, 0);
    ck_assert_str_eq(info.local, "us");
    ck_assert_str_eq(info.peer, "them");
    ck_assert_ptr_null(info.peer_identity);
    info.size--;
    ck_assert_int_eq(nqt_info_answer(&info, 0, 0, "", ""), NQT_E_INVAL);
    ck_assert_str_eq(info.peer, "them");
    ck_assert_ptr_null(nqt_no_ext(&mod, "anything"));
}
END_TEST

/* ---- options ---------------------------------------------------------------------------- */

START_TEST(numbers_are_read_until_one_is_missing)
{
    struct nqt_error err = {.size = sizeof(err)};
    int64_t one = 0, two = 0, three = 0;
    const struct nqt_number all[] = {{"a", &one}, {"no", &two}, {"abc", &three}};

    ck_assert_int_eq(nqt_cfg_numbers(&host, NULL, all, 1, &err), NQT_OK);
    ck_assert_int_eq(one, 1);
    ck_assert_int_eq(nqt_cfg_numbers(&host, NULL, all, 3, &err), NQT_E_CONFIG);
    ck_assert_str_eq(err.text, "no: no value");
    ck_assert_int_eq(three, 0);
}
END_TEST

/* A text's value is its name. */
static const struct {
    const char *name;
    int needed;
    size_t cap;
    int rc;
    const char *out, *text;
} texts[] = {
    {"four", 1, 5, NQT_OK, "four", ""},
    {"four", 1, 4, NQT_E_CONFIG, "old", "four: longer than 3 bytes"},
    {"empty", 0, 5, NQT_OK, "", ""},
    {"empty", 1, 5, NQT_E_CONFIG, "old", "empty: no value"},
    {"no", 0, 5, NQT_OK, "", ""},
    {"no", 1, 5, NQT_E_CONFIG, "old", "no: no value"},
};

START_TEST(text_fits_or_is_an_error)
{
    struct nqt_error err = {.size = sizeof(err)};
    char out[8] = "old";

    ck_assert_int_eq(
        nqt_cfg_text(&host, NULL, texts[_i].name, texts[_i].needed, out, texts[_i].cap, &err),
        texts[_i].rc);
    ck_assert_str_eq(out, texts[_i].out);
    ck_assert_str_eq(err.text, texts[_i].text);
}
END_TEST

START_TEST(choice_is_one_of_those_given)
{
    static const char *const choices[] = {"auto", "four", NULL};
    struct nqt_error err = {.size = sizeof(err)};
    uint32_t which = 9;

    ck_assert_int_eq(nqt_cfg_choice(&host, NULL, "other", choices, &which, &err), NQT_E_CONFIG);
    ck_assert_str_eq(err.text, "other: not \"other\"");
    ck_assert_int_eq(nqt_cfg_choice(&host, NULL, "no", choices, &which, &err), NQT_E_CONFIG);
    ck_assert_str_eq(err.text, "no: no value");
    ck_assert_uint_eq(which, 9);
    ck_assert_int_eq(nqt_cfg_choice(&host, NULL, "four", choices, &which, &err), NQT_OK);
    ck_assert_uint_eq(which, 1);
}
END_TEST

START_TEST(certificate_and_key_go_together)
{
    static const char *const values[] = {NULL, "", "file"};
    struct nqt_error err = {.size = sizeof(err)};
    struct nqt_tls_files files;
    bool fits = (_i / 3 == 2) == (_i % 3 == 2);

    cert_of_test = values[_i / 3];
    key_of_test = values[_i % 3];
    ck_assert_int_eq(nqt_cfg_tls(&host, NULL, &files, &err), fits ? NQT_OK : NQT_E_CONFIG);
    ck_assert_str_eq(files.ca, "tls.ca");
    if (!fits)
        ck_assert_str_eq(err.text, "tls: \"cert\" and \"key\" go together");
    if (fits)
        ck_assert_str_eq(files.cert, _i / 3 == 2 ? "file" : "");
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_kit");
    TCase *tc = tcase_create("transport_kit");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, failure_is_told_and_handed_up);
    tcase_add_test(tc, failure_of_the_system_has_its_number);
    tcase_add_test(tc, failure_for_an_older_caller_leaves_its_memory);
    tcase_add_test(tc, long_texts_are_cut);
    tcase_add_test(tc, memory_is_zeroed_and_may_be_missing);
    tcase_add_test(tc, timer_runs_from_now_until_it_is_stopped);
    tcase_add_test(tc, timer_that_fails_is_none);
    tcase_add_test(tc, event_of_a_link_says_whose_it_is);
    tcase_add_test(tc, event_of_an_endpoint_has_no_link);
    tcase_add_test(tc, health_is_told_to_cores_that_want_to_know);
    tcase_add_test(tc, info_is_for_callers_that_know_all_of_it);
    tcase_add_test(tc, numbers_are_read_until_one_is_missing);
    tcase_add_loop_test(tc, text_fits_or_is_an_error, 0, (int)(sizeof(texts) / sizeof(texts[0])));
    tcase_add_test(tc, choice_is_one_of_those_given);
    tcase_add_loop_test(tc, certificate_and_key_go_together, 0, 9);
    suite_add_tcase(suite, tc);
    return suite;
}

/* core/link.c: greeting, reading, the clock of the handshake, and one end for every link. */
#include "core/link.h"
#include "core/pool.h"
#include "tests/support/fake_module.h"
#include "tests/support/suite.h"
#include <check.h>
#include <string.h>

#define GREETING NQI_HELLO_RECORD

struct owner {
    unsigned opened, ups, hellos, auths, moves, writables, downs, closed;
    struct nqi_link *link; /* NULL once down */
    struct nqi_hello hello;
    struct nqi_attach attach;
    nq_reason reason;
    char text[216];
    uint8_t bytes[200000];
    size_t nbytes;
    size_t commits;       /* bytes that came through the room of our own */
    uint8_t room[100000]; /* a large body ... */
    size_t body;          /* ... of which so much is to come */
    bool reject;          /* what a hello is answered with */
    bool reject_auth;     /* and what AUTH is */
    struct owner *bind;   /* who takes the link at AUTH */
    bool move;            /* into the strand of that one */
    bool close_inside;    /* when bytes come */
    nq_err err;
};

static struct owner first, second;
static struct nqi_strand *strand, *other;
static struct nqi_link *link_;
static struct nqtp_link *plink;

static const struct nqi_link_events owner_events;

static void see(const struct owner *owner)
{
    ck_assert(!nqtest_fake.in_slot);
    ck_assert_uint_eq(owner->closed, 0);
}

static void owner_on_opened(void *arg, struct nqi_link *link)
{
    struct owner *owner = arg;

    see(owner);
    owner->opened++;
    owner->link = link_ = link;
    strand = nqi_strand_ref(nqi_link_strand(link));
}

static void owner_on_up(void *arg, struct nqi_link *link)
{
    struct owner *owner = arg;

    see(owner);
    ck_assert_ptr_eq(link, link_);
    owner->ups++;
}

static nq_reason owner_on_hello(void *arg, struct nqi_link *link, const struct nqi_hello *hello)
{
    struct owner *owner = arg;

    see(owner);
    ck_assert_ptr_eq(link, link_);
    ck_assert_uint_eq(owner->hellos++, 0);
    owner->hello = *hello;
    return owner->reject ? NQ_REASON_DUPLICATE : NQ_REASON_NONE;
}

static void owner_take(struct owner *owner, struct nqi_link *link)
{
    owner->link = link;
    nqi_link_bind(link, &owner_events, owner);
    nqi_link_settled(link);
}

static void owner_on_moved(void *arg, struct nqi_link *link, const struct nqi_attach *attach)
{
    struct owner *owner = arg;

    ck_assert_uint_eq(owner->moves++, 0);
    if (!link)
        return;
    ck_assert(nqi_strand_inside(other));
    ck_assert_uint_eq(attach->auth.counter, 77);
    owner_take(owner, link);
}

static void owner_on_auth(void *arg, struct nqi_link *link, const struct nqi_attach *attach)
{
    struct owner *owner = arg;

    see(owner);
    ck_assert_uint_eq(owner->auths++, 0);
    owner->attach = *attach;
    if (owner->reject_auth)
        nqi_link_reject(link, NQ_REASON_DUPLICATE, NULL);
    else if (owner->move)
        nqi_link_hand_over(link, other, owner_on_moved, owner->bind);
    else if (owner->bind)
        owner_take(owner->bind, link);
}

static nq_err owner_on_receive(void *arg, const uint8_t *data, size_t len)
{
    struct owner *owner = arg;

    see(owner);
    ck_assert_ptr_nonnull(owner->link);
    memcpy(owner->bytes + owner->nbytes, data, len);
    owner->nbytes += len;
    if (!owner->close_inside)
        return owner->err;
    nqi_link_close(owner->link);
    owner->link = NULL;
    return NQ_ERR_CLOSED;
}

static size_t owner_on_space(void *arg, unsigned char **ret)
{
    struct owner *owner = arg;

    if (owner->body)
        *ret = owner->room;
    return owner->body;
}

static nq_err owner_on_commit(void *arg, size_t len)
{
    struct owner *owner = arg;

    ck_assert_uint_gt(len, 0);
    ck_assert_uint_le(len, owner->body);
    owner->body -= len;
    owner->commits += len;
    return owner_on_receive(arg, owner->room, len);
}

static void owner_on_writable(void *arg)
{
    struct owner *owner = arg;

    see(owner);
    owner->writables++;
}

static void owner_on_down(void *arg, struct nqi_link *link, nq_reason reason, const char *text)
{
    struct owner *owner = arg;

    see(owner);
    ck_assert_ptr_eq(link, link_);
    ck_assert_uint_eq(owner->downs++, 0);
    owner->reason = reason;
    owner->link = NULL;
    strncpy(owner->text, text, sizeof(owner->text) - 1);
}

static void owner_on_closed(void *arg)
{
    struct owner *owner = arg;

    see(owner);
    owner->closed++;
    owner->link = NULL;
}

static const struct nqi_link_events owner_events = {.opened = owner_on_opened,
                                                    .up = owner_on_up,
                                                    .hello = owner_on_hello,
                                                    .auth = owner_on_auth,
                                                    .receive = owner_on_receive,
                                                    .space = owner_on_space,
                                                    .commit = owner_on_commit,
                                                    .writable = owner_on_writable,
                                                    .down = owner_on_down,
                                                    .closed = owner_on_closed};

/* ---- fixture ---- */

static void setup_any(bool bare)
{
    nqtest_fake_open(bare);
    memset(&first, 0, sizeof(first));
    memset(&second, 0, sizeof(second));
}

static void setup_client(void)
{
    setup_any(false);
    strand = nqi_strand_new();
    ck_assert(nqi_strand_try(strand));
    ck_assert_int_eq(nqi_link_connect(nqtest_fake_room.ep, strand, nqtest_fake_room.loop,
                                      &owner_events, &first, &link_),
                     NQ_OK);
    nqi_strand_leave(strand);
    first.link = link_;
    plink = &nqtest_fake.links[0];
}

/* What CHALLENGE says. */
static const struct nqi_hello self = {.id = {{0xb0}}, .max_message = 4711};

/* The endpoint has accepted a link. */
static nq_err accept_one(void)
{
    nq_err err;

    plink = nqtest_fake_accept("peer:7");
    err = nqi_link_accept(nqtest_fake_room.ep, plink, "peer:7", nqtest_fake_room.loop, &self,
                          &owner_events, &first);
    return err;
}

static void come_up(void)
{
    nqtest_fake_emit_inside(plink, NQT_EV_LINK_UP, 0, NULL);
}

static void open_server(bool bare)
{
    setup_any(bare);
    ck_assert_int_eq(accept_one(), NQ_OK);
    ck_assert_uint_eq(first.opened, 1);
    come_up();
}

static void setup_server(void)
{
    open_server(false);
}

static void close_it(void)
{
    ck_assert(nqi_strand_try(strand));
    nqi_link_close(link_);
    nqi_strand_leave(strand);
    nqtest_fake_turn();
}

static void teardown(void)
{
    struct owner *owner = second.link || second.downs || second.closed ? &second : &first;

    nqi_pool_fail_after(0);
    if (owner->link)
        close_it();
    nqtest_fake_turn();
    ck_assert_uint_eq(first.closed + second.closed, 1);
    ck_assert_uint_eq(plink->closes, 1);
    nqi_strand_unref(strand);
    nqtest_fake_close();
}

static void lose(int code, const char *text)
{
    nqtest_fake_emit_inside(plink, NQT_EV_LINK_DOWN, code, text);
}

/* ---- a client ---- */

START_TEST(bytes_pass_once_the_link_is_up)
{
    come_up();
    ck_assert_uint_eq(first.ups, 1);
    ck_assert_str_eq(nqi_link_address(link_), "fake:peer");
    ck_assert_str_eq(nqi_link_transport(link_), "fake");
    ck_assert_int_eq(nqtest_fake_read(plink, "hello", 5), NQT_OK);
    ck_assert_mem_eq(first.bytes, "hello", 5);
    nqtest_fake_emit_inside(plink, NQT_EV_WRITABLE, 0, NULL);
    ck_assert_uint_eq(first.writables, 1);
}
END_TEST

START_TEST(messages_pass_as_well)
{
    come_up();
    nqtest_fake_rx(plink, "he", 2);
    nqtest_fake_rx(plink, "llo", 3);
    ck_assert_mem_eq(first.bytes, "hello", 5);
}
END_TEST

START_TEST(a_large_body_is_read_into_its_own_room)
{
    static const size_t bodies[] = {1, 4096, 65536, 100000};
    static uint8_t bytes[150000];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    come_up();
    ck_assert_int_eq(nqtest_fake_read(plink, bytes, 1000), NQT_OK);
    first.body = bodies[_i];
    ck_assert_int_eq(nqtest_fake_read(plink, bytes + 1000, sizeof(bytes) - 1000), NQT_OK);
    ck_assert_uint_eq(first.commits, bodies[_i]);
    ck_assert_uint_eq(first.nbytes, sizeof(bytes));
    ck_assert_mem_eq(first.bytes, bytes, sizeof(bytes));
}
END_TEST

START_TEST(without_memory_there_is_no_room)
{
    come_up();
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nqtest_fake_read(plink, "hello", 5), NQT_E_NOMEM);
    ck_assert_int_eq(nqtest_fake_read(plink, "hello", 5), NQT_OK);
    first.body = 3;
    nqi_pool_fail_after(1); /* the body's room is there all the same */
    ck_assert_int_eq(nqtest_fake_read(plink, "abcde", 5), NQT_OK);
    ck_assert_mem_eq(first.bytes, "helloabcde", 10);
}
END_TEST

START_TEST(the_owner_may_close_while_bytes_come)
{
    come_up();
    first.close_inside = true;
    first.body = _i ? 3 : 0;
    ck_assert_int_eq(nqtest_fake_read(plink, "hello", 5), NQT_E_CLOSED);
    ck_assert_uint_eq(first.nbytes, _i ? 3 : 5);
    ck_assert_uint_eq(first.downs, 0);
}
END_TEST

START_TEST(what_the_owner_refuses_ends_the_reading)
{
    come_up();
    first.err = NQ_ERR_PROTO;
    ck_assert_int_eq(nqtest_fake_read(plink, "hello", 5), NQT_E_CLOSED);
}
END_TEST

static const struct {
    int code;
    nq_reason reason;
} reasons[] = {
    {NQT_E_REFUSED, NQ_REASON_REFUSED}, {NQT_E_UNREACHABLE, NQ_REASON_REFUSED},
    {NQT_E_AUTH, NQ_REASON_AUTH},       {NQT_E_CONFIG, NQ_REASON_REFUSED},
    {NQT_E_NOMEM, NQ_REASON_NO_MEMORY}, {NQT_E_PROTOCOL, NQ_REASON_PROTOCOL},
    {NQT_E_LOST, NQ_REASON_LINK_LOST},  {NQT_E_EOF, NQ_REASON_LINK_LOST},
    {NQT_E_SYS, NQ_REASON_LINK_LOST},   {-77, NQ_REASON_LINK_LOST},
};

START_TEST(a_lost_link_says_why_and_is_closed)
{
    if (_i % 2)
        come_up();
    lose(reasons[_i].code, "because");
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, reasons[_i].reason);
    ck_assert_str_eq(first.text, "because");
    ck_assert_uint_eq(plink->closes, 1);
    ck_assert_int_lt(nqtest_fake_read(plink, "x", 1), 0);
    nqtest_fake_turn();
    ck_assert_uint_eq(first.closed, 1);
}
END_TEST

START_TEST(a_server_that_does_not_answer_is_given_up)
{
    come_up();
    nqtest_fake_pass(NQI_GREETING_NS - 1);
    ck_assert_uint_eq(first.downs, 0);
    nqtest_fake_pass(1);
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, NQ_REASON_TIMED_OUT);
}
END_TEST

START_TEST(a_server_that_answered_may_be_silent)
{
    come_up();
    ck_assert(nqi_strand_try(strand));
    nqi_link_settled(link_);
    nqi_link_settled(link_);
    nqi_strand_leave(strand);
    nqtest_fake_pass(100 * NQI_GREETING_NS);
    ck_assert_uint_eq(first.downs, 0);
}
END_TEST

START_TEST(a_closed_link_says_nothing_more)
{
    come_up();
    nqtest_fake.keep_open = true;
    close_it();
    close_it();
    nqtest_fake_pass(2 * NQI_GREETING_NS);
    lose(NQT_E_LOST, "late");
    ck_assert_uint_eq(first.downs, 0);
    first.link = NULL;
    nqtest_fake.keep_open = false;
    nqtest_fake_emit_inside(plink, NQT_EV_LINK_CLOSED, 0, NULL);
}
END_TEST

START_TEST(a_link_that_cannot_connect_leaves_nothing)
{
    struct nqi_link *none = NULL;

    nqtest_fake.connect_rc = NQT_E_UNREACHABLE;
    ck_assert(nqi_strand_try(strand));
    ck_assert_int_eq(nqi_link_connect(nqtest_fake_room.ep, strand, nqtest_fake_room.loop,
                                      &owner_events, &second, &none),
                     NQ_ERR_LINK);
    nqi_strand_leave(strand);
    ck_assert_ptr_null(none);
}
END_TEST

/* The owner let go of it: it hears of the end only. */
START_TEST(a_drained_link_closes_when_all_is_out)
{
    come_up();
    ck_assert(nqi_strand_try(strand));
    nqi_link_drain(link_);
    nqi_strand_leave(strand);
    ck_assert_uint_eq(plink->shutdowns, 1);
    ck_assert_uint_eq(plink->closes, 0);
    lose(NQT_E_EOF, "all is sent");
    ck_assert_uint_eq(first.downs, 0);
    ck_assert_uint_eq(plink->closes, 1);
}
END_TEST

/* ---- a server ---- */

static void hello_bytes(uint8_t raw[GREETING])
{
    struct nqi_hello hello = {.version_min = 1, .version_max = 1, .max_message = 99};

    memset(hello.id.bytes, 5, sizeof(hello.id.bytes));
    nqi_hello_write(raw, NQI_HELLO, &hello);
}

/* AUTH to whatever was challenged. */
static void auth_bytes(uint8_t raw[NQI_AUTH_RECORD])
{
    static const uint8_t key[NQI_KEY];
    struct nqi_auth auth = {.method = NQI_AUTH_OPEN, .counter = 77};
    uint8_t hello[GREETING], transcript[NQI_KEY];

    hello_bytes(hello);
    ck_assert_uint_eq(plink->nsent, GREETING);
    nqi_transcript(hello, plink->sent, transcript);
    nqi_auth_write(raw, &auth, NULL, key, transcript);
}

/* HELLO comes, and is challenged. */
static void say_hello(void)
{
    uint8_t raw[GREETING];

    hello_bytes(raw);
    nqtest_fake_rx(plink, raw, sizeof(raw));
    ck_assert_uint_eq(first.hellos, 1);
}

static void say_auth(void)
{
    uint8_t raw[NQI_AUTH_RECORD];

    auth_bytes(raw);
    nqtest_fake_rx(plink, raw, sizeof(raw));
    ck_assert_uint_eq(first.auths, 1);
}

static void come_in_pieces(const uint8_t *raw, size_t total, size_t piece)
{
    for (size_t at = 0; at < total; at += piece) {
        size_t len = NQI_MIN(piece, total - at);

        ck_assert_uint_eq(first.auths, 0);
        if (at % 2)
            nqtest_fake_rx(plink, raw + at, len);
        else
            ck_assert_int_eq(nqtest_fake_read(plink, raw + at, len), NQT_OK);
    }
}

START_TEST(a_greeting_in_any_pieces_is_read)
{
    static const size_t pieces[] = {1, 7, 8, 9, 100, NQI_AUTH_RECORD - 1, GREETING - 1, GREETING};
    uint8_t raw[GREETING];
    struct nqi_hello challenge;
    struct nqi_head head;

    first.bind = &second;
    hello_bytes(raw);
    come_in_pieces(raw, GREETING, pieces[_i]);
    ck_assert_uint_eq(first.hellos, 1);
    ck_assert_uint_eq(first.hello.max_message, 99);
    ck_assert_uint_eq(plink->nsent, GREETING); /* not longer than what it answers */
    ck_assert_int_eq(nqi_head_read(plink->sent, &head), NQ_OK);
    ck_assert_uint_eq(head.type, NQI_CHALLENGE);
    ck_assert_int_eq(nqi_hello_read(plink->sent + NQI_HEAD, &challenge), NQ_OK);
    ck_assert_uint_eq(challenge.max_message, 4711);
    ck_assert_uint_eq(challenge.version_max, NQI_VERSION_MAX);
    auth_bytes(raw);
    come_in_pieces(raw, NQI_AUTH_RECORD, pieces[_i]);
    ck_assert_uint_eq(first.auths, 1);
    ck_assert_uint_eq(first.attach.auth.counter, 77);
    ck_assert_uint_eq(first.attach.hello.max_message, 99);
    ck_assert_mem_eq(first.attach.auth_record, raw, NQI_AUTH_RECORD);
    ck_assert(nqi_auth_is_proven(raw, (const uint8_t[NQI_KEY]){0}, first.attach.transcript));
    ck_assert_uint_eq(first.nbytes, 0);
    ck_assert_int_eq(nqtest_fake_read(plink, "after", 5), NQT_OK);
    ck_assert_mem_eq(second.bytes, "after", 5); /* the new owner's */
    ck_assert_str_eq(nqi_link_address(link_), "peer:7");
    nqtest_fake_pass(10 * NQI_GREETING_NS);
    ck_assert_uint_eq(first.downs + second.downs, 0);
}
END_TEST

START_TEST(the_transport_keeps_no_more_of_a_stranger_than_a_greeting)
{
    first.bind = &second;
    ck_assert_uint_eq(plink->limit, NQI_GREETING_BYTES);
    ck_assert_uint_le(plink->limit, 2048); /* of which two make the 4 KiB that he may cost */
    say_hello();
    ck_assert_uint_eq(plink->limit, NQI_GREETING_BYTES);
    say_auth();
    ck_assert_ptr_eq(second.link, link_);
    ck_assert_uint_eq(plink->limit, 0);
}
END_TEST

START_TEST(of_one_that_is_refused_it_keeps_no_more_either)
{
    first.reject = true;
    say_hello();
    ck_assert_uint_eq(plink->limit, NQI_GREETING_BYTES);
}
END_TEST

START_TEST(a_stranger_is_told_by_his_first_bytes)
{
    static const char *const strangers[] = {"GET / HTTP/1.1\r\n", "SSH-2.0-x\r\n",
                                            "\x16\x03\x01\x02\x00\x01\x00\x01"};

    nqtest_fake_rx(plink, strangers[_i], 7);
    ck_assert_uint_eq(first.downs, 0);
    nqtest_fake_rx(plink, strangers[_i] + 7, 1);
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
    ck_assert_str_ne(first.text, "");
}
END_TEST

START_TEST(another_record_is_no_greeting)
{
    uint8_t raw[GREETING];

    hello_bytes(raw);
    raw[0] = NQI_CHALLENGE;
    nqtest_fake_rx(plink, raw, 8);
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
}
END_TEST

START_TEST(a_hello_without_its_magic_is_refused)
{
    uint8_t raw[GREETING];

    hello_bytes(raw);
    raw[NQI_HEAD]++;
    ck_assert_int_lt(nqtest_fake_read(plink, raw, sizeof(raw)), 0);
    ck_assert_uint_eq(first.hellos, 0);
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
}
END_TEST

START_TEST(a_hello_of_another_version_is_not_challenged)
{
    struct nqi_hello hello = {
        .id = {{5}}, .version_min = NQI_VERSION_MAX + 1, .version_max = 0xffff};
    uint8_t raw[GREETING];

    nqi_hello_write(raw, NQI_HELLO, &hello);
    ck_assert_int_lt(nqtest_fake_read(plink, raw, sizeof(raw)), 0);
    ck_assert_uint_eq(first.hellos, 1); /* who lets it pass, has it end here */
    ck_assert_uint_eq(plink->nsent, 0);
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
    ck_assert_str_eq(first.text, "no version in common");
}
END_TEST

START_TEST(a_silent_stranger_is_sent_away)
{
    uint8_t raw[GREETING];

    hello_bytes(raw);
    nqtest_fake_rx(plink, raw, (size_t)_i);
    nqtest_fake_pass(NQI_GREETING_NS - 1);
    ck_assert_uint_eq(first.downs, 0);
    nqtest_fake_pass(1);
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, NQ_REASON_TIMED_OUT);
}
END_TEST

/* The time is one for all that he says, not for each byte or record, and ten seconds. */
START_TEST(who_speaks_slowly_has_no_more_time)
{
    const int64_t piece = NQI_NS_PER_S / 10;
    uint8_t raw[GREETING];
    size_t at = 0;

    hello_bytes(raw);
    if (_i) {
        nqtest_fake_pass(3 * NQI_NS_PER_S);
        nqtest_fake_rx(plink, raw, GREETING);
        ck_assert_uint_eq(first.hellos, 1);
        auth_bytes(raw);
    }
    for (int64_t passed = _i ? 3 * NQI_NS_PER_S : 0; passed < 10 * NQI_NS_PER_S; passed += piece) {
        ck_assert_uint_eq(first.downs, 0);
        nqtest_fake_rx(plink, raw + at++, 1);
        nqtest_fake_pass(piece);
    }
    ck_assert_uint_lt(at, NQI_AUTH_RECORD);
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, NQ_REASON_TIMED_OUT);
}
END_TEST

/* REJECT is sent behind `before` bytes. */
static void check_reject_behind(size_t before)
{
    struct nqi_head head;

    ck_assert_uint_ge(plink->nsent, before + NQI_HEAD);
    ck_assert_int_eq(nqi_head_read(plink->sent + before, &head), NQ_OK);
    ck_assert_uint_eq(head.type, NQI_REJECT);
    ck_assert_uint_eq(head.aux, NQ_REASON_DUPLICATE);
    ck_assert_uint_eq(plink->nsent, before + NQI_HEAD + head.length);
}

static void check_reject(void)
{
    check_reject_behind(0);
}

START_TEST(each_challenge_is_another)
{
    static uint8_t before[GREETING];
    uint8_t raw[GREETING];

    say_hello();
    memcpy(before, plink->sent, GREETING);
    close_it();
    ck_assert_uint_eq(first.closed, 1);
    nqi_strand_unref(strand);
    memset(&first, 0, sizeof(first));
    ck_assert_int_eq(accept_one(), NQ_OK);
    come_up();
    say_hello();
    memcpy(raw, plink->sent, GREETING);
    ck_assert_mem_ne(before, raw, GREETING);
}
END_TEST

START_TEST(bytes_that_nobody_asked_for_are_a_breach)
{
    uint8_t raw[GREETING + 1] = {0};

    if (_i)
        say_hello();
    if (_i)
        auth_bytes(raw);
    else
        hello_bytes(raw);
    nqtest_fake_rx(plink, raw, (_i ? NQI_AUTH_RECORD : GREETING) + 1);
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
    ck_assert_uint_eq(first.hellos, (unsigned)_i);
    ck_assert_uint_eq(first.auths, 0);
}
END_TEST

START_TEST(after_the_challenge_only_auth_is_welcome)
{
    uint8_t raw[GREETING];

    say_hello();
    if (_i) { /* by no known method */
        auth_bytes(raw);
        raw[3] = 9;
        nqtest_fake_rx(plink, raw, NQI_AUTH_RECORD);
    } else {
        hello_bytes(raw);
        nqtest_fake_rx(plink, raw, NQI_HEAD);
    }
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
    ck_assert_uint_eq(first.auths, 0);
}
END_TEST

static const struct {
    uint16_t said;
    nq_reason reason;
} refusals[] = {
    {NQ_REASON_IDENTITY, NQ_REASON_IDENTITY}, {NQ_REASON_AUTH, NQ_REASON_AUTH},
    {NQ_REASON_NONE, NQ_REASON_PROTOCOL}, /* no reason at all */
    {NQ_REASONS, NQ_REASON_PROTOCOL},         {0xffff, NQ_REASON_PROTOCOL},
};

START_TEST(a_client_that_does_not_want_this_server_says_why)
{
    uint8_t raw[NQI_HEAD + 7] = {0};

    say_hello();
    nqi_head_write(raw, NQI_REJECT, 0, refusals[_i].said, 7, 0);
    nqtest_fake_rx(plink, raw, sizeof(raw));
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_int_eq(first.reason, refusals[_i].reason);
    ck_assert_ptr_nonnull(strstr(first.text, "the client refuses: "));
    ck_assert_uint_eq(first.auths, 0);
}
END_TEST

START_TEST(who_does_not_prove_himself_is_sent_away)
{
    say_hello();
    nqtest_fake_pass(NQI_GREETING_NS - 1);
    ck_assert_uint_eq(first.downs, 0);
    nqtest_fake_pass(1);
    ck_assert_int_eq(first.reason, NQ_REASON_TIMED_OUT);
}
END_TEST

START_TEST(an_auth_may_be_refused)
{
    first.reject_auth = true;
    say_hello();
    say_auth();
    check_reject_behind(GREETING);
    ck_assert_uint_eq(plink->shutdowns, 1);
    lose(NQT_E_EOF, "all is sent");
    ck_assert_uint_eq(first.downs, 0);
}
END_TEST

START_TEST(no_memory_for_a_challenge_ends_the_link)
{
    uint8_t raw[GREETING];

    hello_bytes(raw);
    nqi_pool_fail_after(3); /* what it is read into, ... */
    if (nqtest_fake_read(plink, raw, GREETING) == NQT_OK)
        ck_assert_uint_eq(plink->nsent, GREETING);
    else
        ck_assert_uint_le(first.downs, 1);
}
END_TEST

/* ---- into another strand ---- */

static void setup_moving(void)
{
    open_server(false);
    other = nqi_strand_new();
    ck_assert_ptr_nonnull(other);
    first.bind = &second;
    first.move = true;
    say_hello();
}

static void teardown_moving(void)
{
    teardown();
    ck_assert_uint_eq(atomic_load(&other->refs), 1);
    nqi_strand_unref(other);
}

START_TEST(a_link_moves_into_a_free_strand)
{
    say_auth();
    ck_assert_uint_eq(second.moves, 1);
    ck_assert_ptr_eq(second.link, link_);
    ck_assert_int_eq(nqtest_fake_read(plink, "hello", 5), NQT_OK);
    ck_assert_mem_eq(second.bytes, "hello", 5);
    ck_assert(nqi_strand_try(other));
    ck_assert(nqi_strand_inside(strand)); /* they are one */
    nqtest_fake_rx(plink, "there", 5);
    nqi_strand_leave(other);
    ck_assert_mem_eq(second.bytes, "hellothere", 10);
    nqtest_fake_pass(10 * NQI_GREETING_NS);
    ck_assert_uint_eq(first.downs + second.downs, 0);
}
END_TEST

START_TEST(a_link_waits_for_a_strand_that_is_busy)
{
    ck_assert(nqi_strand_try(other));
    say_auth();
    ck_assert_uint_eq(second.moves, 0);
    ck_assert_uint_eq(plink->limit, NQI_GREETING_BYTES);
    nqi_strand_leave(other);
    ck_assert_uint_eq(second.moves, 1);
    ck_assert_uint_eq(plink->limit, 0);
    ck_assert_ptr_eq(second.link, link_);
}
END_TEST

static void check_lost_moving(void)
{
    ck_assert_uint_eq(second.moves, 1);
    ck_assert_ptr_null(second.link);
    ck_assert_uint_eq(second.downs + second.closed, 0);
    ck_assert_uint_eq(first.downs, 1);
    ck_assert_uint_eq(plink->closes, 1);
}

START_TEST(a_link_that_is_lost_before_it_moves_tells_so)
{
    uint8_t raw[NQI_AUTH_RECORD];

    auth_bytes(raw);
    ck_assert(nqi_strand_try(strand));
    ck_assert_int_eq(nqtest_fake_read(plink, raw, sizeof(raw)), NQT_OK);
    ck_assert_uint_eq(first.auths, 1);
    if (_i)
        ck_assert_int_lt(nqtest_fake_read(plink, "x", 1), 0);
    else
        lose(NQT_E_LOST, "because");
    nqi_strand_leave(strand);
    check_lost_moving();
    ck_assert(nqi_strand_try(other)); /* it was left alone */
    ck_assert(!nqi_strand_inside(strand));
    nqi_strand_leave(other);
}
END_TEST

START_TEST(a_link_that_is_lost_while_it_waits_tells_so_in_its_turn)
{
    ck_assert(nqi_strand_try(other));
    say_auth();
    ck_assert_int_lt(nqtest_fake_read(plink, "x", 1), 0); /* before the welcome */
    ck_assert_uint_eq(second.moves, 0);
    ck_assert_uint_eq(plink->closes, 0); /* the work that is on its way needs it */
    nqi_strand_leave(other);
    check_lost_moving();
    ck_assert_int_eq(first.reason, NQ_REASON_PROTOCOL);
}
END_TEST

START_TEST(a_link_that_is_lost_once_it_has_moved_tells_its_new_owner)
{
    ck_assert(nqi_strand_try(other));
    say_auth();
    lose(NQT_E_LOST, "because");
    nqi_strand_leave(other);
    ck_assert_uint_eq(second.moves, 1);
    ck_assert_uint_eq(second.downs, 1);
    ck_assert_uint_eq(first.downs, 0);
}
END_TEST

START_TEST(a_link_may_be_refused_where_it_has_moved_to)
{
    ck_assert(nqi_strand_try(other));
    say_auth();
    nqi_strand_leave(other);
    ck_assert(nqi_strand_try(other));
    nqi_link_reject(link_, NQ_REASON_DUPLICATE, NULL);
    nqi_strand_leave(other);
    check_reject_behind(GREETING);
    lose(NQT_E_EOF, "all is sent");
    ck_assert_uint_eq(second.downs, 0);
}
END_TEST

START_TEST(a_refused_peer_is_told_why_and_drained)
{
    uint8_t raw[GREETING];

    first.reject = true;
    first.err = NQ_ERR_CLOSED;
    hello_bytes(raw);
    nqtest_fake_rx(plink, raw, sizeof(raw));
    nqtest_fake_rx(plink, "bla", 3);
    check_reject();
    ck_assert_uint_eq(plink->shutdowns, 1);
    ck_assert_uint_eq(plink->closes, 0);
    if (_i)
        lose(NQT_E_EOF, "all is sent");
    else
        nqtest_fake_pass(NQI_DRAIN_NS); /* he does not go by himself */
    ck_assert_uint_eq(first.downs, 0);
    ck_assert_uint_eq(plink->closes, 1);
}
END_TEST

START_TEST(a_link_that_cannot_drain_is_closed_with_its_clock)
{
    uint8_t raw[GREETING];

    first.reject = true;
    if (!_i)
        nqtest_fake.shutdown_rc = NQT_E_LOST;
    hello_bytes(raw);
    nqtest_fake_rx(plink, raw, sizeof(raw));
    check_reject();
    first.link = NULL;
    nqtest_fake_turn();
    ck_assert_uint_eq(plink->closes, 1);
    ck_assert_uint_eq(first.downs, 0);
    ck_assert_uint_eq(first.closed, 1);
    nqtest_fake_pass(10 * NQI_GREETING_NS); /* no clock fires for a link that is gone */
}
END_TEST

static void setup_bare_server(void)
{
    open_server(true);
}

START_TEST(no_memory_for_a_greeting_refuses_the_link)
{
    nqtest_fake_open(false);
    memset(&first, 0, sizeof(first));
    plink = nqtest_fake_accept("peer:7");
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nqi_link_accept(nqtest_fake_room.ep, plink, "peer:7", nqtest_fake_room.loop,
                                     &self, &owner_events, &first),
                     NQ_ERR_NOMEM);
    ck_assert_uint_eq(plink->closes, 1);
    ck_assert_uint_eq(first.opened, 0);
    nqtest_fake_close();
}
END_TEST

START_TEST(a_link_that_cannot_be_attached_is_refused)
{
    nqtest_fake_open(false);
    memset(&first, 0, sizeof(first));
    nqtest_fake.attach_rc = NQT_E_LOST;
    ck_assert_int_eq(accept_one(), NQ_ERR_LINK);
    ck_assert_uint_eq(plink->closes, 1);
    ck_assert_uint_eq(first.opened, 0);
    nqtest_fake_close();
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("link");
    TCase *client = nqtest_case(suite, "client", setup_client, teardown);
    TCase *server = nqtest_case(suite, "server", setup_server, teardown);
    TCase *moving = nqtest_case(suite, "moving", setup_moving, teardown_moving);
    TCase *bare = nqtest_case(suite, "bare", setup_bare_server, teardown);
    TCase *none = tcase_create("none");

    suite_add_tcase(suite, none);
    tcase_add_test(client, bytes_pass_once_the_link_is_up);
    tcase_add_test(client, messages_pass_as_well);
    tcase_add_loop_test(client, a_large_body_is_read_into_its_own_room, 0, 4);
    tcase_add_test(client, without_memory_there_is_no_room);
    tcase_add_loop_test(client, the_owner_may_close_while_bytes_come, 0, 2);
    tcase_add_test(client, what_the_owner_refuses_ends_the_reading);
    tcase_add_loop_test(client, a_lost_link_says_why_and_is_closed, 0, NQI_LEN(reasons));
    tcase_add_test(client, a_server_that_does_not_answer_is_given_up);
    tcase_add_test(client, a_server_that_answered_may_be_silent);
    tcase_add_test(client, a_closed_link_says_nothing_more);
    tcase_add_test(client, a_link_that_cannot_connect_leaves_nothing);
    tcase_add_test(client, a_drained_link_closes_when_all_is_out);
    tcase_add_loop_test(server, a_greeting_in_any_pieces_is_read, 0, 8);
    tcase_add_test(server, each_challenge_is_another);
    tcase_add_loop_test(server, bytes_that_nobody_asked_for_are_a_breach, 0, 2);
    tcase_add_loop_test(server, after_the_challenge_only_auth_is_welcome, 0, 2);
    tcase_add_loop_test(server, a_client_that_does_not_want_this_server_says_why, 0,
                        NQI_LEN(refusals));
    tcase_add_test(server, who_does_not_prove_himself_is_sent_away);
    tcase_add_test(server, an_auth_may_be_refused);
    tcase_add_test(server, no_memory_for_a_challenge_ends_the_link);
    tcase_add_test(moving, a_link_moves_into_a_free_strand);
    tcase_add_test(moving, a_link_waits_for_a_strand_that_is_busy);
    tcase_add_loop_test(moving, a_link_that_is_lost_before_it_moves_tells_so, 0, 2);
    tcase_add_test(moving, a_link_that_is_lost_while_it_waits_tells_so_in_its_turn);
    tcase_add_test(moving, a_link_that_is_lost_once_it_has_moved_tells_its_new_owner);
    tcase_add_test(moving, a_link_may_be_refused_where_it_has_moved_to);
    tcase_add_test(server, the_transport_keeps_no_more_of_a_stranger_than_a_greeting);
    tcase_add_test(server, of_one_that_is_refused_it_keeps_no_more_either);
    tcase_add_loop_test(server, a_stranger_is_told_by_his_first_bytes, 0, 3);
    tcase_add_test(server, another_record_is_no_greeting);
    tcase_add_test(server, a_hello_without_its_magic_is_refused);
    tcase_add_test(server, a_hello_of_another_version_is_not_challenged);
    tcase_add_loop_test(server, a_silent_stranger_is_sent_away, 0, 9);
    tcase_add_loop_test(server, who_speaks_slowly_has_no_more_time, 0, 2);
    tcase_add_loop_test(server, a_refused_peer_is_told_why_and_drained, 0, 2);
    tcase_add_loop_test(server, a_link_that_cannot_drain_is_closed_with_its_clock, 0, 1);
    tcase_add_loop_test(bare, a_link_that_cannot_drain_is_closed_with_its_clock, 1, 2);
    tcase_add_test(none, no_memory_for_a_greeting_refuses_the_link);
    tcase_add_test(none, a_link_that_cannot_be_attached_is_refused);
    return suite;
}

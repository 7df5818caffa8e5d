/* core/guard.c: what goes in comes out, however it is cut; what somebody changed does not, nor
 * anything behind it. */
#include "core/buf.h"
#include "core/err.h"
#include "core/guard.h"
#include "core/pool.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define CAP (4u << 20)

static struct nqi_guard client, server;
static uint8_t key[NQI_KEY], transcript[NQI_KEY];
static uint8_t *wire, *heard;
static size_t wire_len, heard_len;
static nq_err answer; /* of whoever hears */

static void begin(void)
{
    nqi_guard_end(&client);
    nqi_guard_end(&server);
    nqi_guard_begin(&client, key, transcript, false);
    nqi_guard_begin(&server, key, transcript, true);
    wire_len = heard_len = 0;
}

static void setup(void)
{
    for (uint8_t i = 0; i < NQI_KEY; i++) {
        key[i] = i;
        transcript[i] = (uint8_t)(100 + i);
    }
    wire = malloc(CAP);
    heard = malloc(CAP);
    ck_assert(wire && heard);
    memset(&client, 0, sizeof(client));
    memset(&server, 0, sizeof(server));
    answer = NQ_OK;
    begin();
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nqi_guard_end(&client);
    nqi_guard_end(&server);
    free(wire);
    free(heard);
}

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) * 3);
}

/* A buffer of `len` bytes in three segments. */
static struct nqi_txbuf *body_of(size_t len)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(3, (uint32_t)len);

    ck_assert_ptr_nonnull(txbuf);
    for (size_t i = 0; i < len; i++)
        txbuf->room[i] = byte_at(i);
    for (size_t i = 0; i < 3; i++)
        nqi_txbuf_add(txbuf, txbuf->room + len * i / 3, len * (i + 1) / 3 - len * i / 3);
    return txbuf;
}

/* @param frame [take] */
static void send_frame(struct nqi_txbuf *frame)
{
    ck_assert_ptr_nonnull(frame);
    for (uint32_t i = 0; i < frame->buf.nseg; i++) {
        memcpy(wire + wire_len, frame->seg[i].iov_base, frame->seg[i].iov_len);
        wire_len += frame->seg[i].iov_len;
    }
    nqi_txbuf_unref(frame);
}

static void send_all(struct nqi_guard *guard, size_t len)
{
    struct nqi_txbuf *body = body_of(len);

    for (size_t at = 0; at < len; at += NQI_GUARD_PAYLOAD)
        send_frame(nqi_guard_frame(guard, NULL, &body->buf, at,
                                   (uint32_t)NQI_MIN(len - at, (size_t)NQI_GUARD_PAYLOAD)));
    nqi_txbuf_unref(body);
}

static nq_err hear(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    memcpy(heard + heard_len, data, len);
    heard_len += len;
    return answer;
}

/* The wire arrives in pieces of `piece` bytes, each in memory of its own. */
static nq_err arrive(struct nqi_guard *guard, size_t piece)
{
    nq_err err = NQ_OK;

    for (size_t at = 0, n; at < wire_len && !err; at += n) {
        uint8_t *exact;

        n = NQI_MIN(piece, wire_len - at);
        exact = malloc(n);
        memcpy(exact, wire + at, n);
        err = nqi_guard_receive(guard, exact, n, hear, NULL);
        free(exact);
    }
    return err;
}

static void check_heard(size_t len)
{
    ck_assert_uint_eq(heard_len, len);
    for (size_t i = 0; i < len; i++)
        if (heard[i] != byte_at(i))
            ck_abort_msg("byte %zu is not what was said", i);
}

/* ---- what it is for ---- */

static const size_t lengths[] = {1,    2,     19,    20,    21,     64,     4095,
                                 4096, 32767, 32768, 32769, 100000, 1048576};
static const size_t pieces[] = {1, 3, 4, 5, 23, 24, 1000, 32788, SIZE_MAX};

START_TEST(what_goes_in_comes_out_however_it_is_cut)
{
    size_t len = lengths[(size_t)_i / NQI_LEN(pieces)],
           piece = pieces[(size_t)_i % NQI_LEN(pieces)];

    send_all(&client, len);
    ck_assert_uint_eq(wire_len, len + (len + NQI_GUARD_PAYLOAD - 1) / NQI_GUARD_PAYLOAD * 20);
    ck_assert_int_eq(arrive(&server, piece), NQ_OK);
    check_heard(len);
    ck_assert_ptr_null(server.frame);
}
END_TEST

START_TEST(both_directions_have_keys_of_their_own)
{
    uint8_t first[64];

    send_all(&client, 20);
    memcpy(first, wire, wire_len);
    wire_len = 0;
    send_all(&server, 20);
    ck_assert_mem_eq(wire, first, 24);
    ck_assert_mem_ne(wire + 24, first + 24, NQI_GUARD_TAG);
    ck_assert_int_eq(arrive(&client, SIZE_MAX), NQ_OK);
    begin();
    send_all(&client, 20); /* and comes back */
    ck_assert_int_eq(arrive(&client, SIZE_MAX), NQ_ERR_CLOSED);
    ck_assert_uint_eq(heard_len, 0);
}
END_TEST

START_TEST(what_is_before_the_body_is_copied_and_the_body_is_not)
{
    struct nqi_txbuf *front = body_of(30), *body = body_of(3000), *frame;

    frame = nqi_guard_frame(&client, &front->buf, &body->buf, 1000, 500);
    ck_assert_ptr_nonnull(frame);
    ck_assert_ptr_eq(frame->inner, &body->buf);
    ck_assert_ptr_eq(frame->seg[1].iov_base, body->room + 1000);
    ck_assert_uint_eq(frame->buf.len, 4 + 30 + 500 + 16);
    nqi_txbuf_unref(front);
    nqi_txbuf_unref(body);
    send_frame(frame);
    ck_assert_int_eq(arrive(&server, SIZE_MAX), NQ_OK);
    ck_assert_uint_eq(heard_len, 530);
    ck_assert_uint_eq(heard[29], byte_at(29));
    ck_assert_uint_eq(heard[30], byte_at(1000));
}
END_TEST

/* What another implementation says, Python's, with the AES of the openssl command:
 *
 *     k = hmac.new(bytes(range(32)), label + bytes(range(100, 132)), hashlib.sha256).digest()
 *     s = aes_128_ecb(k[:16], number.to_bytes(16, 'big'))
 *     r = int.from_bytes(k[16:], 'little') & 0x0ffffffc0ffffffc0ffffffc0fffffff
 *     m = struct.pack('>I', 20) + bytes(at * 7 for at in range(20))
 *     a = 0
 *     for at in range(0, len(m), 16):
 *         a = (a + int.from_bytes(m[at:at + 16] + b'\1', 'little')) * r % (2**130 - 5)
 *     tag = ((a + int.from_bytes(s, 'little')) % 2**128).to_bytes(16, 'little') */
static const struct {
    bool server;
    uint8_t first[NQI_GUARD_TAG], second[NQI_GUARD_TAG]; /* of two frames */
} tags[] = {
    {false,
     {0xe7, 0xe0, 0x3e, 0xb1, 0xda, 0x3b, 0x5a, 0x1b, 0xa1, 0xf4, 0xf4, 0x9d, 0x72, 0x21, 0x21,
      0xbe},
     {0x2f, 0xea, 0xee, 0x46, 0x5a, 0xad, 0xfd, 0x4b, 0x79, 0x19, 0xb0, 0xfc, 0x37, 0x9e, 0x17,
      0x36}},
    {true,
     {0xbf, 0x4a, 0xea, 0x39, 0x7c, 0xca, 0x19, 0x07, 0x41, 0x86, 0xfb, 0x3b, 0x0a, 0x87, 0x32,
      0xfa},
     {0xbe, 0xa9, 0xac, 0x60, 0xbf, 0x31, 0x1c, 0xae, 0x1d, 0x6f, 0x36, 0x3a, 0x73, 0xa1, 0xe8,
      0x6d}},
};

START_TEST(tags_are_what_the_protocol_says)
{
    struct nqi_guard *guard = tags[_i].server ? &server : &client;

    send_all(guard, 20);
    send_all(guard, 20);
    ck_assert_mem_eq(wire + 24, tags[_i].first, NQI_GUARD_TAG);
    ck_assert_mem_eq(wire + 64, tags[_i].second, NQI_GUARD_TAG);
}
END_TEST

/* ---- what somebody on the way does ---- */

START_TEST(no_bit_can_be_changed)
{
    for (size_t bit = 0; bit < 8 * (20 + 9); bit++) {
        begin();
        send_all(&client, 9);
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* A longer frame is waited for, and comes to nothing with the next one. */
        send_all(&client, 60);
        if (arrive(&server, SIZE_MAX) == NQ_OK && heard_len)
            ck_abort_msg("bit %zu makes no difference", bit);
        ck_assert_uint_eq(heard_len, 0);
    }
}
END_TEST

enum { LEFT_OUT, TWICE, SWAPPED, OLD, OTHER_LINK, OTHER_KEY, WAYS };

/* Three frames of 100 bytes and tags; then the second one is not where it belongs. */
START_TEST(frames_are_told_apart_by_their_place)
{
    const size_t one = 120;
    uint8_t spare[120];

    send_all(&client, 100);
    send_all(&client, 100);
    send_all(&client, 100);
    memcpy(spare, wire + one, one);
    switch (_i) {
    case LEFT_OUT:
        memmove(wire + one, wire + 2 * one, one);
        break;
    case TWICE:
        memcpy(wire + 2 * one, spare, one);
        break;
    case SWAPPED:
        memcpy(wire + one, wire + 2 * one, one);
        memcpy(wire + 2 * one, spare, one);
        break;
    case OLD:
        memcpy(wire + one, wire, one);
        break;
    case OTHER_LINK:
        transcript[0] ^= 1;
        nqi_guard_end(&server);
        nqi_guard_begin(&server, key, transcript, true);
        break;
    default:
        key[0] ^= 1;
        nqi_guard_end(&server);
        nqi_guard_begin(&server, key, transcript, true);
    }
    ck_assert_int_eq(arrive(&server, SIZE_MAX), NQ_ERR_CLOSED);
    ck_assert(server.broken);
    ck_assert_uint_eq(heard_len, _i == TWICE ? 200 : _i >= OTHER_LINK ? 0 : 100);
    ck_assert_ptr_nonnull(strstr(nq_error(), "somebody on the way"));
}
END_TEST

START_TEST(a_length_that_no_frame_has_is_refused_at_once)
{
    static const uint32_t wrong[] = {0, NQI_GUARD_PAYLOAD + 1, 1u << 24, UINT32_MAX};

    nqi_store_u32(wire, wrong[_i]);
    wire_len = 4;
    ck_assert_int_eq(arrive(&server, SIZE_MAX), NQ_ERR_CLOSED);
    begin();
    nqi_store_u32(wire, wrong[_i]);
    wire_len = 5;
    ck_assert_int_eq(arrive(&server, 1), NQ_ERR_CLOSED);
    ck_assert_uint_eq(heard_len, 0);
}
END_TEST

/* ---- when it goes wrong here ---- */

START_TEST(whoever_hears_can_stop_it)
{
    send_all(&client, 40);
    send_all(&client, 40);
    answer = NQ_ERR_PROTO;
    ck_assert_int_eq(arrive(&server, _i ? 7 : SIZE_MAX), NQ_ERR_PROTO);
    ck_assert_uint_eq(heard_len, 40);
    ck_assert(!server.broken);
}
END_TEST

START_TEST(without_memory_no_number_is_used_up)
{
    struct nqi_txbuf *body = body_of(50);

    nqi_pool_fail_after(1);
    ck_assert_ptr_null(nqi_guard_frame(&client, NULL, &body->buf, 0, 50));
    send_frame(nqi_guard_frame(&client, NULL, &body->buf, 0, 50));
    ck_assert_int_eq(arrive(&server, SIZE_MAX), NQ_OK);
    check_heard(50);
    send_frame(nqi_guard_frame(&client, NULL, &body->buf, 0, 50));
    nqi_pool_fail_after(1);
    ck_assert_int_eq(arrive(&server, 10), NQ_ERR_NOMEM);
    ck_assert(!server.broken);
    nqi_txbuf_unref(body);
}
END_TEST

START_TEST(nothing_is_left_of_it_at_its_end)
{
    static const struct nqi_guard none;

    send_all(&client, 100);
    ck_assert_int_eq(nqi_guard_receive(&server, wire, 50, hear, NULL), NQ_OK);
    ck_assert_ptr_nonnull(server.frame);
    nqi_guard_end(&server);
    nqi_guard_end(&client);
    ck_assert_mem_eq(&server, &none, sizeof(none));
    ck_assert_mem_eq(&client, &none, sizeof(none));
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("guard");
    TCase *tcase = tcase_create("guard");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, what_goes_in_comes_out_however_it_is_cut, 0,
                        (int)(NQI_LEN(lengths) * NQI_LEN(pieces)));
    tcase_add_test(tcase, both_directions_have_keys_of_their_own);
    tcase_add_test(tcase, what_is_before_the_body_is_copied_and_the_body_is_not);
    tcase_add_loop_test(tcase, tags_are_what_the_protocol_says, 0, NQI_LEN(tags));
    tcase_add_test(tcase, no_bit_can_be_changed);
    tcase_add_loop_test(tcase, frames_are_told_apart_by_their_place, 0, WAYS);
    tcase_add_loop_test(tcase, a_length_that_no_frame_has_is_refused_at_once, 0, 4);
    tcase_add_loop_test(tcase, whoever_hears_can_stop_it, 0, 2);
    tcase_add_test(tcase, without_memory_no_number_is_used_up);
    tcase_add_test(tcase, nothing_is_left_of_it_at_its_end);
    suite_add_tcase(suite, tcase);
    return suite;
}

/* core/queue_report.c: the document is whole, is JSON whatever is in it, and says what the calls
 * say.
 */
#include "core/queue_report.h"
#include "core/transport_inside.h"
#include "tests/support/queue.h"
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* All of it, through a buffer of `room` bytes. */
static json_t *report(nq_queue *queue, size_t room)
{
    struct nqi_report one;
    char *text = NULL, *piece = malloc(room);
    json_error_t error;
    size_t len = 0;
    bool more = true;
    json_t *json;

    ck_assert_int_eq(nqi_report_open(&one, queue, nqi_now()), NQ_OK);
    while (more) {
        struct nqi_wbuf out = nqi_wbuf_over(piece, room);

        more = nqi_report_fill(&one, &out);
        ck_assert(!out.bad && nqi_wbuf_len(&out));
        text = realloc(text, len + room + 1);
        memcpy(text + len, piece, nqi_wbuf_len(&out));
        len += nqi_wbuf_len(&out);
        text[len] = '\0';
    }
    nqi_report_fini(&one);
    json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json != NULL, "%s: %s", error.text, text);
    ck_assert_int_eq(text[len - 1], '\n');
    free(piece);
    free(text);
    return json;
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    ck_assert_msg(text != NULL, "no %s", name);
    return text;
}

static uint64_t number_of(const json_t *json, const char *name)
{
    const json_t *number = json_object_get(json, name);

    ck_assert_msg(json_is_integer(number), "no %s", name);
    return (uint64_t)json_integer_value(number);
}

START_TEST(no_field_of_the_stats_is_left_out)
{
    unsigned char told[sizeof(struct nq_stats)] = {0};

    for (size_t i = 0; i < nqi_report_nfields; i++) {
        const struct nqi_report_field *field = &nqi_report_fields[i];
        size_t len = (field->place ? field->places : 1) * sizeof(uint64_t);

        ck_assert_uint_le(field->offset + len, sizeof(told));
        for (size_t k = 0; k < len; k++)
            ck_assert_msg(!told[field->offset + k]++, "%s is told twice", field->name);
    }
    for (size_t k = 0; k < sizeof(told); k++)
        ck_assert_msg(told[k], "byte %zu of struct nq_stats is not told", k);
}
END_TEST

START_TEST(each_reason_has_a_word_of_its_own)
{
    for (unsigned i = 0; i < NQ_REASONS; i++) {
        ck_assert_uint_gt(strlen(nqi_report_reason(i)), 0);
        ck_assert_uint_eq(strspn(nqi_report_reason(i), "abcdefghijklmnopqrstuvwxyz_"),
                          strlen(nqi_report_reason(i)));
        for (unsigned k = 0; k < i; k++)
            ck_assert_str_ne(nqi_report_reason(i), nqi_report_reason(k));
    }
    ck_assert_str_eq(nqi_report_reason(NQ_REASON_QUEUE_FULL), "queue_full");
    ck_assert_str_eq(nqi_report_reason(NQ_REASON_NO_MEMORY), "no_memory");
    ck_assert_str_eq(nqi_report_reason(NQ_REASON_WIRE), "wire");
}
END_TEST

START_TEST(the_document_says_what_the_calls_say)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[3];
    struct nq_peer_info infos[3];
    const json_t *stats, *peers, *transport;
    json_t *json;
    size_t count;
    uint64_t delivered = 0;

    for (unsigned i = 0; i < 3; i++) {
        clients[i] = nqtest_join(server, "");
        for (unsigned k = 0; k <= i; k++)
            ck_assert_int_eq(
                nqtest_outcome(nqtest_put_future(clients[i], nqtest_noise(1000, k)), NULL),
                NQ_DELIVERED);
        delivered += i + 1;
    }
    json = report(server, NQI_REPORT_ROOM + (size_t)_i * 10000);
    ck_assert_str_eq(text_of(json, "netqueue"), "stats");
    ck_assert_uint_eq(number_of(json, "format"), NQI_REPORT_FORMAT);
    ck_assert_str_eq(text_of(json, "id"), NQTEST_SERVER);
    ck_assert_str_eq(text_of(json, "purpose"), "server");
    ck_assert_str_eq(text_of(json, "progress"), "auto");
    ck_assert(json_is_false(json_object_get(json, "closing")));
    stats = json_object_get(json, "stats");
    ck_assert_uint_eq(json_object_size(stats), nqi_report_nfields);
    ck_assert_uint_eq(number_of(stats, "unread"), delivered);
    ck_assert_uint_eq(number_of(stats, "unread_bytes"), delivered * 1000);
    ck_assert_uint_eq(number_of(stats, "messages_in"), delivered);
    ck_assert_uint_eq(number_of(stats, "peers"), 3);
    ck_assert_uint_eq(json_object_size(json_object_get(stats, "dropped_by")), NQ_REASONS);
    ck_assert_uint_eq(number_of(json_object_get(stats, "health"), "ready"), 1);
    transport = json_array_get(json_object_get(json, "transports"), 0);
    ck_assert_str_eq(text_of(transport, "transport"), nqtest_transport_name(_i));
    ck_assert_str_eq(text_of(transport, "state"), "ready");
    ck_assert_uint_gt(strlen(text_of(transport, "text")), 0);

    peers = json_object_get(json, "peers");
    ck_assert_int_eq(nq_peers(server, infos, 3, &count), NQ_OK);
    ck_assert_uint_eq(json_array_size(peers), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *peer = json_array_get(peers, i);
        char id[NQ_UUID_TEXT];

        ck_assert_str_eq(text_of(peer, "id"), nq_uuid_format(&infos[i].id, id));
        ck_assert(json_is_true(json_object_get(peer, "up")));
        ck_assert_str_eq(text_of(peer, "transport"), infos[i].transport);
        ck_assert_str_eq(text_of(peer, "address"), infos[i].address);
        ck_assert_str_eq(text_of(peer, "wire"), "netqueue");
        ck_assert_uint_eq(number_of(peer, "messages_in"), i + 1);
        ck_assert_uint_eq(number_of(peer, "bytes_in"), 1000 * (i + 1));
        ck_assert_uint_eq(number_of(peer, "unread"), i + 1);
        ck_assert_uint_eq(number_of(peer, "queued") + number_of(peer, "queued_bytes") +
                              number_of(peer, "unacked") + number_of(peer, "messages_out") +
                              number_of(peer, "bytes_out"),
                          0);
    }
    json_decref(json);
    for (unsigned i = 0; i < 3; i++)
        nq_free(clients[i]);
    nq_free(server);
}
END_TEST

/* As long as texts get, and of bytes that grow most. */
static const struct {
    char byte;
    const char *becomes; /* NULL = itself */
} bytes[] = {{1, NULL},    {'"', NULL}, {'\\', NULL},
             {'\n', NULL}, {127, NULL}, {(char)0xff, "\\xff"}};

START_TEST(texts_of_any_bytes_are_told)
{
    nq_queue *server = nqtest_server(NQTEST_LOOP, "");
    char text[192];
    const struct nqt_health told = {
        .size = sizeof(told), .state = NQT_HEALTH_FAILING, .text = text};
    const char *back;
    json_t *json;

    memset(text, bytes[_i].byte, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    nqi_ep_health_told(server->eps[0].ep, &told);
    json = report(server, NQI_REPORT_ROOM);
    back = text_of(json_array_get(json_object_get(json, "transports"), 0), "text");
    if (bytes[_i].becomes)
        ck_assert_int_eq(strncmp(back, bytes[_i].becomes, 4), 0);
    else
        ck_assert_str_eq(back, text);
    json_decref(json);
    nq_free(server);
}
END_TEST

START_TEST(a_transport_that_is_not_here_is_told)
{
    nq_queue *client = nqtest_open("{'purpose': 'client', 'transports': [{'transport': 'missing'},"
                                   " {'transport': 'loop', 'name': 'nobody'}]}");
    json_t *json = report(client, NQI_REPORT_ROOM);
    const json_t *transports = json_object_get(json, "transports");

    ck_assert_uint_eq(json_array_size(transports), 2);
    ck_assert_str_eq(text_of(json_array_get(transports, 0), "transport"), "missing");
    ck_assert_str_eq(text_of(json_array_get(transports, 0), "state"), "closed");
    ck_assert_str_eq(text_of(json, "purpose"), "client");
    ck_assert_uint_eq(json_array_size(json_object_get(json, "peers")), 1);
    json_decref(json);
    nq_free(client);
}
END_TEST

START_TEST(peers_that_leave_meanwhile_are_told_all_the_same)
{
    nq_queue *server = nqtest_server(NQTEST_LOOP, ""), *client = nqtest_join(server, "");
    char piece[NQI_REPORT_ROOM];
    struct nqi_report one;
    bool more = true;

    ck_assert_int_eq(nqi_report_open(&one, server, nqi_now()), NQ_OK);
    nqtest_end(client);
    nqtest_event(server, NQ_EVENT_PEER_GONE);
    while (more) {
        struct nqi_wbuf out = nqi_wbuf_over(piece, sizeof(piece));

        more = nqi_report_fill(&one, &out);
    }
    nqi_report_fini(&one);
    nqi_report_fini(&one);
    nqtest_end(server);
}
END_TEST

START_TEST(half_a_document_gives_its_peers_back)
{
    nq_queue *server = nqtest_server(NQTEST_LOOP, ""), *client = nqtest_join(server, "");
    struct nqi_report one;

    ck_assert_int_eq(nqi_report_open(&one, server, nqi_now()), NQ_OK);
    nqi_report_fini(&one);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_report");
    TCase *tc = tcase_create("queue_report");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, no_field_of_the_stats_is_left_out);
    tcase_add_test(tc, each_reason_has_a_word_of_its_own);
    nqtest_each(tc, the_document_says_what_the_calls_say);
    tcase_add_loop_test(tc, texts_of_any_bytes_are_told, 0, NQI_LEN(bytes));
    tcase_add_test(tc, a_transport_that_is_not_here_is_told);
    tcase_add_test(tc, peers_that_leave_meanwhile_are_told_all_the_same);
    tcase_add_test(tc, half_a_document_gives_its_peers_back);
    suite_add_tcase(suite, tc);
    return suite;
}

/* core/conf.c, conf_entry.c, conf_note.c: every key, every way to be wrong, all problems at once.
 */
#include "core/conf.h"
#include "tests/support/alloc.h"
#include "tests/support/modules.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the compiler cannot read JSON, people must: ' stands for " in these tests. */
static char *quote(const char *text)
{
    char *json = strdup(text);

    for (char *at = json; (at = strchr(at, '\''));)
        *at = '"';
    return json;
}

struct problems {
    size_t count;
    char path[8][256], text[8][512];
};

static struct problems problems;
static struct nqi_conf *conf;

static void setup(void)
{
    memset(&problems, 0, sizeof(problems));
    conf = NULL;
}

static void teardown(void)
{
    nqi_conf_free(conf);
}

static void take_problem(void *arg, const char *path, const char *text)
{
    struct problems *all = arg;

    if (all->count < NQI_LEN(all->path)) {
        snprintf(all->path[all->count], sizeof(all->path[0]), "%s", path);
        snprintf(all->text[all->count], sizeof(all->text[0]), "%s", text);
    }
    all->count++;
}

static nq_err load(const char *text)
{
    char *json = quote(text);
    nq_err err =
        nqi_conf_load(NULL, json, strlen(json), nqtest_module, take_problem, &problems, &conf);

    free(json);
    return err;
}

/* ---- what is allowed ------------------------------------------------------------------------- */

START_TEST(the_shortest_configuration_has_all_defaults)
{
    int64_t port = 0;

    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'tcp'}"), NQ_OK);
    ck_assert(!conf->server);
    ck_assert(!nq_uuid_is_nil(&conf->id));
    ck_assert_uint_eq(conf->ntransports, 1);
    ck_assert_ptr_eq(conf->transports[0].module, &nqtest_module_tcp);
    ck_assert_int_eq(nqi_options_int(conf->transports[0].options, "port", &port), NQT_OK);
    ck_assert_int_eq(port, 51966);
    ck_assert_uint_eq(conf->queue_messages, 65536);
    ck_assert_uint_eq(conf->queue_bytes, 64 << 20);
    ck_assert_int_eq(conf->policy, NQI_POLICY_FAIL);
    ck_assert_uint_eq(conf->max_message, 1 << 30);
    ck_assert_uint_eq(conf->memory, UINT64_C(2) << 30);
    ck_assert_uint_eq(conf->max_peers, 16384);
    ck_assert_uint_eq(conf->strangers, 256);
    ck_assert_uint_eq(conf->source_strangers, 64);
    ck_assert_uint_eq(conf->source_failures, 600);
    ck_assert_int_eq(conf->keepalive_ns, 15 * NQI_NS_PER_S);
    ck_assert_int_eq(conf->expiry_ns, 300 * NQI_NS_PER_S);
    ck_assert_int_eq(conf->linger_ns, 30 * NQI_NS_PER_S);
    ck_assert_uint_eq(conf->credit, 64 << 20);
    ck_assert_uint_eq(conf->record, 1 << 20);
    ck_assert_uint_eq(conf->coalesce, 64 << 10);
    ck_assert_int_eq(conf->ack, NQI_ACK_QUEUED);
    ck_assert(!conf->resend);
    ck_assert_int_eq(conf->mode, NQI_PROGRESS_AUTO);
    ck_assert_int_eq(conf->spin_ns, -1);
    ck_assert_uint_eq(conf->workers, 1);
    ck_assert(!conf->insecure);
    ck_assert_uint_eq(problems.count, 0);
}
END_TEST

START_TEST(every_key_arrives_in_its_field)
{
    char id[NQ_UUID_TEXT];

    ck_assert_int_eq(
        load("{'purpose': 'server', 'id': '6F1C2F3E-7c1b-4b1e-9d55-0b1f6a1d2c3e',"
             " 'transports': [{'transport': 'loop', 'wire': 'netqueue'}, {'transport': 'tcp'}],"
             " 'queue': {'messages': 'unlimited', 'bytes': -1, 'policy': 'drop_newest'},"
             " 'limits': {'max_message': 'unlimited', 'memory': -1, 'peers': 7},"
             " 'session': {'keepalive': 'off', 'expiry': 0, 'linger': '2min', 'ack': 'consumed',"
             " 'resend': true, 'credit': '128KiB', 'record': 4096, 'coalesce': 'off'},"
             " 'progress': {'mode': 'manual', 'spin': 'off', 'workers': 64},"
             " 'security': {'insecure': true}, 'serializer': 'stream', 'wire': 'netqueue',"
             " 'plugin_path': ['/a', '/b']}"),
        NQ_OK);
    ck_assert(conf->server);
    ck_assert_str_eq(nq_uuid_format(&conf->id, id), "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e");
    ck_assert_uint_eq(conf->ntransports, 2);
    ck_assert_uint_eq(conf->queue_messages, NQI_UNLIMITED);
    ck_assert_uint_eq(conf->queue_bytes, NQI_UNLIMITED);
    ck_assert_int_eq(conf->policy, NQI_POLICY_DROP_NEWEST);
    ck_assert_uint_eq(conf->max_message, NQI_UNLIMITED);
    ck_assert_uint_eq(conf->memory, NQI_UNLIMITED);
    ck_assert_uint_eq(conf->max_peers, 7);
    ck_assert_int_eq(conf->keepalive_ns, 0);
    ck_assert_int_eq(conf->expiry_ns, 0);
    ck_assert_int_eq(conf->linger_ns, 120 * NQI_NS_PER_S);
    ck_assert_int_eq(conf->ack, NQI_ACK_CONSUMED);
    ck_assert(conf->resend);
    ck_assert_uint_eq(conf->credit, 128 << 10);
    ck_assert_uint_eq(conf->record, 4096);
    ck_assert_uint_eq(conf->coalesce, 0);
    ck_assert_int_eq(conf->mode, NQI_PROGRESS_MANUAL);
    ck_assert_int_eq(conf->spin_ns, 0);
    ck_assert_uint_eq(conf->workers, 64);
    ck_assert(conf->insecure);
    ck_assert_uint_eq(nqtest_module_npaths, 2);
    ck_assert_str_eq(nqtest_module_path, "/a");
}
END_TEST

START_TEST(the_short_form_takes_options_from_the_root)
{
    const char *host = NULL;
    int64_t num = 0;

    ck_assert_int_eq(load("{'purpose': 'server', 'port': 0, 'transport': 'tcp', 'host': '::1',"
                          " 'keepalive': '5s', 'session': {'keepalive': '6s'}}"),
                     NQ_OK);
    ck_assert_int_eq(nqi_options_str(conf->transports[0].options, "host", &host), NQT_OK);
    ck_assert_str_eq(host, "::1");
    ck_assert_int_eq(nqi_options_int(conf->transports[0].options, "port", &num), NQT_OK);
    ck_assert_int_eq(num, 0);
    ck_assert_int_eq(nqi_options_int(conf->transports[0].options, "keepalive", &num), NQT_OK);
    ck_assert_int_eq(num, 5 * NQI_NS_PER_S);
    ck_assert_int_eq(conf->keepalive_ns, 6 * NQI_NS_PER_S);
}
END_TEST

START_TEST(every_open_without_an_id_makes_a_new_one)
{
    struct nqi_conf *first;

    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'loop'}"), NQ_OK);
    first = conf;
    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'loop'}"), NQ_OK);
    ck_assert(!nq_uuid_equal(&first->id, &conf->id));
    nqi_conf_free(first);
}
END_TEST

START_TEST(defaults_follow_a_smaller_limit)
{
    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'loop',"
                          " 'limits': {'memory': '1MiB'}, 'session': {'record': '4KiB'}}"),
                     NQ_OK);
    ck_assert_uint_eq(conf->max_message, 1 << 20);
    ck_assert_uint_eq(conf->coalesce, 4096);
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------
 */

#define CLIENT "'purpose': 'client', 'transport': 'loop'"
#define LIST(entries) "{'purpose': 'server', 'transports': [" entries "]}"

static const struct {
    const char *text, *path, *part; /* the one problem: its place and part of its text */
} wrong[] = {
    /* keys */
    {"{" CLIENT ", 'quue': {}}", "/quue", "unknown key; the nearest is \"queue\""},
    {"{" CLIENT ", 'queue': {'polcy': 'fail'}}", "/queue/polcy", "the nearest is \"policy\""},
    {"{" CLIENT ", 'session': {'a/b~c': 1}}", "/session/a~1b~0c", "unknown key; the nearest"},
    {"{" CLIENT ", 'policy': 'fail'}", "/policy", "unknown key; it stands at /queue/policy"},
    {"{" CLIENT ", 'queue': {'queue_size': 5}}", "/queue/queue_size",
     "here it is called \"messages\" in \"queue\""},
    {LIST("{'transport': 'tcp', 'prot': 5}"), "/transports/0/prot", "the nearest is \"port\""},
    {LIST("{'transport': 'tcp', 'netloc': 'x'}"), "/transports/0/netloc", "\"host\" and \"port\""},
    {"{'purpose': 'server', 'transport': 'tcp', 'purpos': 1}", "/purpos", "\"purpose\""},
    {"{'purpose': 'server', 'transport': 'tcp', 'hosst': 1}", "/hosst", "\"host\""},
    /* objects */
    {"{" CLIENT ", 'queue': 5}", "/queue", "must be an object"},
    {"{" CLIENT ", 'limits': null}", "/limits", "must be an object"},
    /* values */
    {"{" CLIENT ", 'queue': {'messages': 0}}", "/queue/messages", "\"unlimited\" or 1 or more"},
    {"{" CLIENT ", 'queue': {'bytes': '1 GB'}}", "/queue/bytes", "must be a size"},
    {"{" CLIENT ", 'queue': {'policy': 'wait'}}", "/queue/policy", "\"fail\", \"block\""},
    {"{" CLIENT ", 'limits': {'peers': 2000000}}", "/limits/peers", "1 to 1048576"},
    {"{" CLIENT ", 'session': {'record': '32MiB'}}", "/session/record", "4KiB to 16MiB"},
    {"{" CLIENT ", 'session': {'record': 4095}}", "/session/record", "4KiB to 16MiB"},
    {"{" CLIENT ", 'session': {'keepalive': 15}}", "/session/keepalive", "with its unit"},
    {"{" CLIENT ", 'session': {'keepalive': '1ms'}}", "/session/keepalive", "100ms to 24h"},
    {"{" CLIENT ", 'session': {'resend': 'no'}}", "/session/resend", "true or false"},
    {"{" CLIENT ", 'progress': {'workers': 65}}", "/progress/workers", "1 to 64"},
    {"{" CLIENT ", 'progress': {'workers': 0}}", "/progress/workers", "1 to 64"},
    {"{" CLIENT ", 'progress': {'spin': 'sometimes'}}", "/progress/spin", "\"auto\" or \"off\""},
    {"{" CLIENT ", 'plugin_path': '/a'}", "/plugin_path", "array"},
    {"{" CLIENT ", 'plugin_path': ['lib']}", "/plugin_path", "entry 0 must be an absolute path"},
    {"{'purpose': 'both', 'transport': 'loop'}", "/purpose", "\"client\", \"server\""},
    {"{'transport': 'loop'}", "/purpose", "is missing"},
    /* id */
    {"{" CLIENT ", 'id': 'me'}", "/id", "UUID of 36 characters"},
    {"{" CLIENT ", 'id': 7}", "/id", "UUID of 36 characters"},
    {"{" CLIENT ", 'id': '00000000-0000-0000-0000-000000000000'}", "/id", "only zeros"},
    {"{" CLIENT ", 'id': 'ffffffff-ffff-ffff-ffff-ffffffffffff'}", "/id", "only ones"},
    /* later versions */
    {"{" CLIENT ", 'wire': 'both'}", "/wire", "\"both\" is for servers"},
    {"{" CLIENT ", 'wire': 'net-queue'}", "/wire", "carries the wire \"netqueue\" only"},
    {"{" CLIENT ", 'serializer': 'yaml'}", "/serializer", "\"pickle\""},
    {"{" CLIENT ", 'security': {'psk': '/no/keys'}}", "/security/psk", "/no/keys: cannot open"},
    {"{" CLIENT ", 'security': {'psk': '/'}}", "/security/psk", "not a regular file"},
    {"{" CLIENT ", 'security': {'psk': 5}}", "/security/psk", "must be a path"},
    {LIST("{'transport': 'tcp', 'tls': {'ca': 'x'}}"), "/transports/0/tls", "not in this version"},
    {LIST("{'transport': 'tcp', 'psk': 'x'}"), "/transports/0/psk", "cannot open"},
    {LIST("{'transport': 'tcp', 'wire': 'both'}"), "/transports/0/wire",
     "carries the wire \"netqueue\" only"},
    {"{" CLIENT ", 'tls': {}}", "/tls", "not in this version"},
    /* transports */
    {"{'purpose': 'server'}", "/transports", "is missing: must be an array of 1 to 64"},
    {"{'purpose': 'server', 'transports': []}", "/transports", "must be an array of 1 to 64"},
    {"{'purpose': 'server', 'transports': 'loop'}", "/transports", "must be an array"},
    {LIST("'loop'"), "/transports/0", "must be an object"},
    {LIST("{}"), "/transports/0/transport", "must be the name of a transport, not missing"},
    {LIST("{'transport': 5}"), "/transports/0/transport", "must be the name of a transport, not 5"},
    {"{'purpose': 'server', 'transport': [1]}", "/transport", "not an array"},
    {"{" CLIENT ", 'transports': [{'transport': 'tcp'}]}", "/transport", "use one of them"},
    {LIST("{'transport': 'tcp', 'port': 65536}"), "/transports/0/port", "0 to 65535"},
    {LIST("{'transport': 'tcp', 'family': 'ipv5'}"), "/transports/0/family", "nearest is \"ipv4\""},
    {LIST("{'transport': 'odd', 'name': 'x'}"), "/transports/0/transport", "cannot listen"},
    {"{'purpose': 'client', 'transport': 'odd'}", "/name", "is missing: the transport \"odd\""},
    {LIST("{'transport': 'loop'}, {'transport': 'loop'}"), "/transports/1", "the same transport"},
    {LIST("{'transport': 'tcp'}, {'transport': 'tcp', 'port': 51966}"), "/transports/1",
     "the same transport with the same options"},
    /* rules between keys */
    {"{" CLIENT ", 'limits': {'max_message': '2GiB', 'memory': '1GiB'}}", "/limits/max_message",
     "more than \"memory\""},
    {"{" CLIENT ", 'limits': {'max_message': 'unlimited'}}", "/limits/max_message",
     "more than \"memory\""},
    {"{" CLIENT ", 'session': {'coalesce': '2MiB'}}", "/session/coalesce", "more than \"record\""},
};

START_TEST(a_problem_is_told_with_place_and_remedy)
{
    struct nqi_conf *untouched = (struct nqi_conf *)&problems;

    conf = untouched;
    ck_assert_int_eq(load(wrong[_i].text), NQ_ERR_CONFIG);
    ck_assert_ptr_eq(conf, untouched);
    conf = NULL;
    ck_assert_msg(problems.count == 1, "%zu: %s %s", problems.count, problems.path[1],
                  problems.text[1]);
    ck_assert_str_eq(problems.path[0], wrong[_i].path);
    ck_assert_msg(strstr(problems.text[0], wrong[_i].part), "%s", problems.text[0]);
    ck_assert_ptr_nonnull(strstr(nq_error(), "configuration text: /"));
    ck_assert_ptr_nonnull(strstr(nq_error(), wrong[_i].path));
    ck_assert_ptr_nonnull(strstr(nq_error(), wrong[_i].part));
}
END_TEST

START_TEST(all_problems_are_reported_and_the_first_is_the_error)
{
    ck_assert_int_eq(load("{'purpose': 'x', 'quue': 1, 'queue': {'bytes': true, 'policy': 5},"
                          " 'transports': [{'transport': 'tcp', 'port': -1, 'host': 5}, 7]}"),
                     NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems.count, 7);
    ck_assert_str_eq(problems.path[0], "/purpose");
    ck_assert_str_eq(problems.path[1], "/quue");
    ck_assert_str_eq(problems.path[2], "/queue/bytes");
    ck_assert_str_eq(problems.path[3], "/queue/policy");
    ck_assert_str_eq(problems.path[4], "/transports/0/port");
    ck_assert_str_eq(problems.path[5], "/transports/0/host");
    ck_assert_str_eq(problems.path[6], "/transports/1");
    ck_assert_ptr_nonnull(strstr(nq_error(), "/purpose"));
}
END_TEST

START_TEST(a_transport_that_cannot_be_loaded_is_a_problem_of_the_plugin)
{
    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'carrier-pigeon', 'port': 5}"),
                     NQ_ERR_PLUGIN);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problems.path[0], "/transport");
    ck_assert_str_eq(problems.text[0], "no transport \"carrier-pigeon\" here");
    ck_assert_ptr_nonnull(strstr(nq_error(), "/transport: no transport"));
}
END_TEST

START_TEST(a_client_does_without_a_transport_while_it_has_another)
{
    ck_assert_int_eq(load("{'purpose': 'client', 'transports': [{'transport': 'carrier-pigeon'},"
                          "{'transport': 'tcp', 'host': '::1'}]}"),
                     NQ_OK);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problems.path[0], "/transports/0/transport");
    ck_assert_uint_eq(conf->ntransports, 2);
    ck_assert_ptr_null(conf->transports[0].module);
    ck_assert_str_eq(conf->transports[0].absent->name, "carrier-pigeon");
    ck_assert_str_eq(conf->transports[0].absent->why, "no transport \"carrier-pigeon\" here");
    ck_assert_ptr_eq(conf->transports[1].module, &nqtest_module_tcp);
    ck_assert_ptr_null(conf->transports[1].absent);
}
END_TEST

START_TEST(a_server_and_a_client_with_no_other_need_their_transports)
{
    ck_assert_int_eq(load("{'purpose': 'server', 'transports': [{'transport': 'carrier-pigeon'},"
                          "{'transport': 'tcp', 'host': '::1'}]}"),
                     NQ_ERR_PLUGIN);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_int_eq(load("{'purpose': 'client', 'transports': [{'transport': 'carrier-pigeon'},"
                          "{'transport': 'dove'}]}"),
                     NQ_ERR_PLUGIN);
    ck_assert_uint_eq(problems.count, 3);
    ck_assert_ptr_nonnull(strstr(nq_error(), "/transports/0/transport: no transport"));
    ck_assert_int_eq(load("{'purpose': 'client', 'transports': [{'transport': 'carrier-pigeon'},"
                          "{'transport': 'tcp', 'prt': 1}]}"),
                     NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems.count, 5);
    ck_assert_ptr_nonnull(strstr(nq_error(), "/transports/1/prt: unknown key"));
}
END_TEST

START_TEST(problems_need_nobody_who_listens)
{
    static const char text[] = "{\"purpose\": 7}";

    ck_assert_int_eq(nqi_conf_load(NULL, text, strlen(text), nqtest_module, NULL, NULL, &conf),
                     NQ_ERR_CONFIG);
    ck_assert_ptr_null(conf);
}
END_TEST

START_TEST(what_strangers_write_is_cut_and_made_printable)
{
    char text[2048], key[1024];

    memset(key, 'k', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    snprintf(text, sizeof(text), "{" CLIENT ", 'queue': {'%s': 1, '\\u001b[2J': 2}}", key);
    ck_assert_int_eq(load(text), NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems.count, 2);
    ck_assert_uint_lt(strlen(problems.path[0]), 256);
    ck_assert_ptr_null(strchr(problems.path[1], '\x1b'));
}
END_TEST

START_TEST(what_a_problem_quotes_is_made_printable)
{
    ck_assert_int_eq(load("{" CLIENT ", 'security': {'psk': '/no\\u001b[2Jwhere'}}"),
                     NQ_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(problems.text[0], "\\x1b[2Jwhere"));
    ck_assert_ptr_nonnull(strstr(nq_error(), "\\x1b[2Jwhere"));
    ck_assert_ptr_null(strchr(nq_error(), '\x1b'));
}
END_TEST

START_TEST(malformed_json_is_one_problem_with_line_and_column)
{
    ck_assert_int_eq(load("{'purpose': 'client',\n 'purpose': 'client'}"), NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problems.path[0], "");
    ck_assert_ptr_nonnull(strstr(problems.text[0], "2:"));
    ck_assert_ptr_nonnull(strstr(problems.text[0], "duplicate object key"));
    ck_assert_ptr_eq(strstr(nq_error(), "configuration text:2:"), nq_error());
}
END_TEST

/* ---- open queues
 * ---------------------------------------------------------------------------------- */

static const struct {
    const char *host;
    bool open;
} hosts[] = {
    {"127.0.0.1", false},
    {"127.255.0.9", false},
    {"::1", false},
    {"localhost", false},
    {"LocalHost", false},
    {"::ffff:127.0.0.1", false},
    {"0.0.0.0", true},
    {"::", true},
    {"*", true},
    {"", true},
    {"192.168.0.1", true},
    {"127.0.0.1.example", true},
    {"127.evil", true},
    {"localhost.example", true},
    {"::ffff:10.0.0.1", true},
    {"example.org", true},
};

START_TEST(addresses_beyond_loopback_need_the_word_insecure)
{
    char text[512];

    snprintf(text, sizeof(text), "{'purpose': 'server', 'transport': 'tcp', 'host': '%s'}",
             hosts[_i].host);
    ck_assert_int_eq(load(text), hosts[_i].open ? NQ_ERR_CONFIG : NQ_OK);
    if (!hosts[_i].open)
        return;
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problems.path[0], "/host");
    ck_assert_ptr_nonnull(strstr(problems.text[0], "needs \"security\": {\"insecure\": true}: this "
                                                   "queue has neither TLS nor a key"));
    snprintf(text, sizeof(text),
             "{'purpose': 'client', 'transport': 'tcp', 'host': '%s',"
             " 'security': {'insecure': true}}",
             hosts[_i].host);
    ck_assert_int_eq(load(text), NQ_OK);
}
END_TEST

/* A file of keys that is gone after the test. */
static void write_keys(char path[64])
{
    static const char keys[] = "{\"key\": \"000102030405060708090a0b0c0d0e0f\"}";
    int fd;

    snprintf(path, 64, "/tmp/nqtest-conf-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, keys, sizeof(keys) - 1), sizeof(keys) - 1);
    close(fd);
}

START_TEST(with_a_key_an_address_may_be_anywhere)
{
    char text[512], path[64];
    int64_t proven = -1;

    write_keys(path);
    snprintf(
        text, sizeof(text),
        "{'purpose': '%s', 'transport': 'tcp', 'host': '192.0.2.1', 'security': {'psk': '%s'}}",
        _i ? "server" : "client", path);
    ck_assert_int_eq(load(text), NQ_OK);
    ck_assert(conf->keyed);
    ck_assert_ptr_nonnull(conf->keystore);
    ck_assert_int_eq(nqi_options_int(conf->transports[0].options, NQT_FACT_PROVEN, &proven), 0);
    ck_assert_int_eq(proven, 1);
    ck_assert_int_eq(unlink(path), 0);
    nqi_conf_free(conf);
    conf = NULL;
    ck_assert_int_eq(load(text), NQ_ERR_CONFIG); /* of the keys alone, not of the address */
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problems.path[0], "/security/psk");
}
END_TEST

static const struct nqi_conf_transport *entry(size_t i)
{
    return &conf->transports[i];
}

/* Entry 0 has the queue's keys, 1 and 3 the same file of their own, 2 names the queue's. */
START_TEST(a_transport_may_have_keys_of_its_own)
{
    char text[900], queue[64], own[64];

    write_keys(queue);
    write_keys(own);
    snprintf(text, sizeof(text),
             "{'purpose': 'server', 'security': {'psk': '%s'}, 'transports': ["
             "{'transport': 'tcp'}, {'transport': 'tcp', 'port': 2, 'psk': '%s'},"
             "{'transport': 'tcp', 'port': 3, 'psk': '%s'},"
             "{'transport': 'tcp', 'port': 4, 'psk': '%s'}]}",
             queue, own, queue, own);
    ck_assert_int_eq(load(text), NQ_OK);
    ck_assert_uint_eq(entry(0)->circle, NQI_CIRCLE_QUEUE);
    ck_assert_ptr_null(entry(0)->keystore);
    ck_assert_uint_eq(entry(2)->circle, NQI_CIRCLE_QUEUE);
    ck_assert_ptr_null(entry(2)->keystore);
    ck_assert_ptr_nonnull(entry(1)->keystore);
    ck_assert_ptr_nonnull(entry(3)->keystore);
    ck_assert_uint_gt(entry(1)->circle, NQI_CIRCLE_QUEUE);
    ck_assert_uint_eq(entry(1)->circle, entry(3)->circle);
    ck_assert_int_eq(unlink(queue) + unlink(own), 0);
}
END_TEST

/* What a key allows, it allows to the transport that has it. */
START_TEST(a_key_of_one_transport_protects_that_one_alone)
{
    char text[512], own[64];
    int64_t proven = -1;

    write_keys(own);
    snprintf(text, sizeof(text),
             "{'purpose': 'client', 'transports': [{'transport': 'tcp', 'host': '192.0.2.1',"
             " 'psk': '%s'}, {'transport': 'tcp', 'host': '%s'}]}",
             own, _i ? "192.0.2.2" : "127.0.0.1");
    if (_i) {
        ck_assert_int_eq(load(text), NQ_ERR_CONFIG);
        ck_assert_uint_eq(problems.count, 1);
        ck_assert_str_eq(problems.path[0], "/transports/1/host");
    } else {
        ck_assert_int_eq(load(text), NQ_OK);
        ck_assert_uint_eq(entry(1)->circle, 0);
        ck_assert_int_eq(nqi_options_int(entry(0)->options, NQT_FACT_PROVEN, &proven), 0);
        ck_assert_int_eq(proven, 1);
        ck_assert_int_eq(nqi_options_int(entry(1)->options, NQT_FACT_PROVEN, &proven), 0);
        ck_assert_int_eq(proven, 0);
    }
    ck_assert_int_eq(unlink(own), 0);
}
END_TEST

START_TEST(local_transports_are_never_open)
{
    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'odd', 'name': 'x'}"), NQ_OK);
}
END_TEST

/* ---- files
 * ------------------------------------------------------------------------------------------ */

static void write_conf(const char *path)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs("{\"purpose\": \"client\", \"transport\": \"odd\", \"name\": \"x\"}", file);
    ck_assert_int_eq(fclose(file), 0);
}

static void check_file_option(const char *path, const char *expected)
{
    const char *file = NULL;

    ck_assert_int_eq(nqi_conf_load(path, NULL, 0, nqtest_module, NULL, NULL, &conf), NQ_OK);
    ck_assert_int_eq(nqi_options_str(conf->transports[0].options, "file", &file), NQT_OK);
    ck_assert_str_eq(file, expected);
    nqi_conf_free(conf);
    conf = NULL;
}

START_TEST(paths_count_from_the_folder_of_the_file)
{
    char top[] = "/tmp/nqtest-conf-XXXXXX", path[64], expected[512], cwd[256];

    ck_assert_ptr_nonnull(mkdtemp(top));
    ck_assert_int_eq(chdir(top), 0);
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
    ck_assert_int_eq(mkdir("sub", 0700), 0);
    write_conf("sub/a.json");
    write_conf("b.json");
    snprintf(path, sizeof(path), "%s/sub/a.json", top);
    snprintf(expected, sizeof(expected), "%s/sub/odd.sock", top);
    check_file_option(path, expected);
    snprintf(expected, sizeof(expected), "%s/sub/odd.sock", cwd);
    check_file_option("sub/a.json", expected);
    snprintf(expected, sizeof(expected), "%s/odd.sock", cwd);
    check_file_option("b.json", expected);
    ck_assert_int_eq(load("{'purpose': 'client', 'transport': 'odd', 'name': 'x'}"), NQ_OK);
    unlink("sub/a.json");
    unlink("b.json");
    rmdir("sub");
    rmdir(top);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_no_problem_of_the_configuration)
{
    ck_assert_int_eq(
        nqi_conf_load("/nonexistent", NULL, 0, nqtest_module, take_problem, &problems, &conf),
        NQ_ERR_SYS);
    ck_assert_uint_eq(problems.count, 0);
    ck_assert_ptr_nonnull(strstr(nq_error(), "/nonexistent"));
}
END_TEST

static const char *const examples[] = {"tcp-server", "tcp-client", "loop", "all-keys"};

START_TEST(the_examples_load)
{
    const char *top = getenv("top_srcdir");
    char path[512];

    snprintf(path, sizeof(path), "%s/config/%s.json", top ? top : ".", examples[_i]);
    ck_assert_msg(nqi_conf_load(path, NULL, 0, nqtest_module, take_problem, &problems, &conf) ==
                      NQ_OK,
                  "%s", nq_error());
}
END_TEST

START_TEST(lack_of_memory_is_told_and_leaks_nothing)
{
    static const char text[] =
        "{'purpose': 'client', 'plugin_path': ['/a'], 'transports': [{'transport': 'odd',"
        " 'name': 'x', 'words': ['a']}, {'transport': 'tcp'}], 'queue': {'policy': 'block'}}";
    nq_err err = NQ_ERR_NOMEM;
    char *json = quote(text);

    for (unsigned n = 1; err; n++) {
        nqtest_alloc_fail_at(n);
        err = nqi_conf_load(NULL, json, strlen(json), nqtest_module, NULL, NULL, &conf);
        ck_assert_int_eq(nqtest_alloc_disarm(), err != NQ_OK);
        ck_assert(err == NQ_OK || conf == NULL);
    }
    free(json);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("conf");
    TCase *tc = tcase_create("conf");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_shortest_configuration_has_all_defaults);
    tcase_add_test(tc, every_key_arrives_in_its_field);
    tcase_add_test(tc, the_short_form_takes_options_from_the_root);
    tcase_add_test(tc, every_open_without_an_id_makes_a_new_one);
    tcase_add_test(tc, defaults_follow_a_smaller_limit);
    tcase_add_loop_test(tc, a_problem_is_told_with_place_and_remedy, 0, (int)NQI_LEN(wrong));
    tcase_add_test(tc, all_problems_are_reported_and_the_first_is_the_error);
    tcase_add_test(tc, a_transport_that_cannot_be_loaded_is_a_problem_of_the_plugin);
    tcase_add_test(tc, a_client_does_without_a_transport_while_it_has_another);
    tcase_add_test(tc, a_server_and_a_client_with_no_other_need_their_transports);
    tcase_add_test(tc, problems_need_nobody_who_listens);
    tcase_add_test(tc, what_strangers_write_is_cut_and_made_printable);
    tcase_add_test(tc, what_a_problem_quotes_is_made_printable);
    tcase_add_test(tc, malformed_json_is_one_problem_with_line_and_column);
    tcase_add_loop_test(tc, with_a_key_an_address_may_be_anywhere, 0, 2);
    tcase_add_loop_test(tc, addresses_beyond_loopback_need_the_word_insecure, 0,
                        (int)NQI_LEN(hosts));
    tcase_add_test(tc, a_transport_may_have_keys_of_its_own);
    tcase_add_loop_test(tc, a_key_of_one_transport_protects_that_one_alone, 0, 2);
    tcase_add_test(tc, local_transports_are_never_open);
    tcase_add_test(tc, paths_count_from_the_folder_of_the_file);
    tcase_add_test(tc, a_file_that_cannot_be_read_is_no_problem_of_the_configuration);
    tcase_add_loop_test(tc, the_examples_load, 0, (int)NQI_LEN(examples));
    tcase_add_test(tc, lack_of_memory_is_told_and_leaks_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}

/* A configuration from a stranger: the text, its tree, the key table, entries of transports.
 *
 * What is refused says why, names a place, and quotes nothing that cannot be printed; what is taken
 * keeps the ranges of the key table. */
#include "core/conf.h"
#include "core/err.h"
#include "core/options.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/modules.h"

static void conf_printable(const char *text)
{
    for (; *text; text++)
        MUST((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void conf_problem(void *arg, const char *at, const char *what)
{
    unsigned *problems = arg;

    ++*problems;
    MUST(*what && (!*at || *at == '/'));
    conf_printable(at);
    conf_printable(what);
}

/* @return transports that a client does without */
static unsigned conf_check(const struct nqi_conf *conf)
{
    unsigned absent = 0;

    MUST(conf->ntransports >= 1 && conf->ntransports <= NQI_LIST_CAP);
    MUST(conf->max_peers >= 1);
    MUST(conf->keepalive_ns >= 0 && conf->expiry_ns >= 0 && conf->linger_ns >= 0);
    MUST(conf->spin_ns >= -1 && conf->record > 0);
    for (size_t i = 0; i < conf->ntransports; i++) {
        const struct nqt_module *module = conf->transports[i].module;

        absent += !module;
        MUST(!module == !!conf->transports[i].absent);
        if (!module) {
            MUST(!conf->server);
            conf_printable(conf->transports[i].absent->name);
            continue;
        }
        MUST(nqi_options_module(conf->transports[i].options) == module);
        MUST(nqi_options_equal(conf->transports[i].options, conf->transports[i].options));
        for (size_t k = 0; k < module->nopt; k++)
            MUST(nqi_options_is_set(conf->transports[i].options, k) ||
                 (!nqi_options_at(module, k)->def &&
                  !(nqi_options_at(module, k)->flags & NQT_OPT_REQUIRED)));
    }
    MUST(absent < conf->ntransports);
    return absent;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len);
    struct nqi_conf *conf = NULL;
    unsigned problems = 0;
    uint8_t *text;
    nq_err err;

    text = fuzz_exact(&in, &len);
    err = nqi_conf_load(NULL, (char *)text, len, nqtest_module, conf_problem, &problems, &conf);
    if (err) {
        MUST(!conf && *nq_error());
        MUST(err == NQ_ERR_CONFIG || err == NQ_ERR_PLUGIN || err == NQ_ERR_SYS);
        conf_printable(nq_error());
    } else {
        MUST(conf_check(conf) == problems);
    }
    nqi_conf_free(conf);
    free(text);
    return 0;
}

/* ' stands for " in these. */
static const char *const conf_texts[] = {
    "{'purpose': 'server', 'transport': 'tcp', 'host': '127.0.0.1', 'port': 51966}",
    "{'purpose': 'client', 'id': '6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e', 'transports': ["
    "{'transport': 'loop'}, {'transport': 'tcp', 'family': 'ipv6', 'keepalive': '3s',"
    " 'send_buffer': '64KiB', 'reuse_port': true, 'wire': 'netqueue'}]}",
    "{'purpose': 'client', 'transports': [{'transport': 'odd', 'name': 'n', 'count': 7, 'file':"
    " 'a.sock', 'words': ['a', 'b'], 'pin': 1234, 'tls': {'ca': '/ca.pem', 'depth': 3}}]}",
    "{'purpose': 'client', 'transports': [{'transport': 'upon', 'below': 'odd', 'name': 'n'}]}",
    "{'purpose': 'server', 'transport': 'tcp', 'queue': {'messages': 'unlimited', 'bytes': '1GiB',"
    " 'policy': 'drop_oldest'}, 'limits': {'max_message': 1000, 'memory': '2MiB', 'peers': 7}}",
    "{'purpose': 'server', 'transport': 'loop', 'session': {'keepalive': 'off', 'expiry': '1min',"
    " 'linger': '500ms', 'ack': 'consumed', 'resend': false, 'credit': '1MiB', 'record': 4096,"
    " 'coalesce': 'off'}, 'progress': {'mode': 'manual', 'spin': 'auto', 'workers': 2}}",
    "{'purpose': 'server', 'transport': 'tcp', 'host': '*', 'security': {'insecure': true,"
    " 'psk': '/nowhere/keys'}, 'serializer': 'bytes', 'plugin_path': ['/usr/lib/x']}",
    "{'purpose': 'x', 'trnasport': 'tcp', 'queue': 5, 'id': 'none', 'limits': {'peers': -1}}",
    "{'a': {'a': {'a': {'a': {'a': {'a': {'a': {'a': {'a': {'a': [[[[[[[[1]]]]]]]]}}}}}}}}}}}",
};

void fuzz_seeds(void)
{
    for (size_t i = 0; i < NQI_LEN(conf_texts); i++) {
        for (const char *at = conf_texts[i]; *at; at++)
            fuzz_add_u8(*at == '\'' ? '"' : (unsigned char)*at);
        fuzz_seed();
    }
}

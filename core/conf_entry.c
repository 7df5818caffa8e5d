/* The core knows no transport: what an entry may say comes from the module's table, and the one
 * rule about addresses goes by the names "host" and "tls." and the capability LOCAL_ONLY.
 *
 * A transport may stand on another one, which an option of type TRANSPORT names: then the keys that
 * are none of its own belong to the other, and every rule holds for both. */
#include "core/conf_entry.h"

#include "core/conf_keys.h"
#include "core/err.h"
#include "core/log.h"
#include "core/options.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* ---- rules ------------------------------------------------------------------------------ */

/* Literal addresses and the one name that stands for them; anything else may lead elsewhere. */
static bool entry_is_loopback(const char *host)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six) ||
               (memcmp(&six, mapped, sizeof(mapped)) == 0 && six.s6_addr[12] == 127);
    return strcasecmp(host, "localhost") == 0;
}

static bool entry_has_tls(const struct nqi_options *options)
{
    const struct nqt_module *module = nqi_options_module(options);

    for (size_t i = 0; i < module->nopt; i++)
        if (strncmp(nqi_options_at(module, i)->name, "tls.", 4) == 0 &&
            nqi_options_is_set(options, i))
            return true;
    return false;
}

/* Without TLS and without a key a queue is open, so it stays on this host.  With a key all that
 * passes is proven, also where it can be read. */
static void entry_check_open(struct nqi_conf_notes *notes, const struct nqi_options *options,
                             const char *at)
{
    char pointer[NQI_CONF_AT], seen[256];
    const char *host;

    if (nqi_options_module(options)->caps & NQT_CAP_LOCAL_ONLY || entry_has_tls(options) ||
        nqi_options_str(options, "host", &host) || entry_is_loopback(host))
        return;
    nqi_conf_note(notes, NQ_ERR_CONFIG, nqi_conf_pointer(at, "host", pointer),
                  "the address \"%s\", which is not loopback, needs \"security\": "
                  "{\"insecure\": true}: this queue has neither TLS nor a key that all must prove",
                  nqi_log_escape(host, seen, sizeof(seen)));
}

/* A private key that everybody may read is one by name only.  Who may read a file is for its owner
 * to say, so this is no error. */
static void entry_look_at_key(const struct nqi_conf_notes *notes, const struct nqi_options *options,
                              const char *at)
{
    char group[NQI_CONF_AT], pointer[NQI_CONF_AT], text[NQI_CONF_TEXT];
    struct stat file;
    const char *path;

    if (nqi_options_str(options, "tls.key", &path) || stat(path, &file) ||
        !(file.st_mode & S_IRWXO))
        return;
    nqi_conf_pointer(nqi_conf_pointer(at, "tls", group), "key", pointer);
    snprintf(text, sizeof(text),
             "every user of this host may open the private key %s (mode %03o): chmod o= on it",
             path, (unsigned)file.st_mode & 0777u);
    nqi_conf_remark(notes, pointer, text);
}

static void entry_check_caps(struct nqi_conf_notes *notes, const struct nqt_module *module,
                             const char *at, bool server)
{
    char pointer[NQI_CONF_AT];

    if (module->caps & (server ? NQT_CAP_LISTEN : NQT_CAP_CONNECT))
        return;
    nqi_conf_note(notes, NQ_ERR_CONFIG, nqi_conf_pointer(at, "transport", pointer),
                  "the transport \"%s\" cannot %s, which a %s needs", module->name,
                  server ? "listen" : "connect", server ? "server" : "client");
}

static void entry_check_required(struct nqi_conf_notes *notes, const struct nqi_options *options,
                                 const json_t *json, const char *at)
{
    const struct nqt_module *module = nqi_options_module(options);
    const struct nqt_opt *opt;
    char pointer[NQI_CONF_AT];

    for (size_t i = 0; i < module->nopt; i++) {
        opt = nqi_options_at(module, i);
        if (!(opt->flags & NQT_OPT_REQUIRED) || nqi_options_is_set(options, i) ||
            json_object_get(json, opt->name))
            continue;
        nqi_conf_note(notes, NQ_ERR_CONFIG, nqi_conf_pointer(at, opt->name, pointer),
                      "is missing: the transport \"%s\" needs it (%s)", module->name,
                      nqi_value_type(opt));
    }
}

static void entry_check_twice(struct nqi_conf_notes *notes, const struct nqi_conf *conf,
                              const struct nqi_conf_transport *entry, const char *at)
{
    for (size_t i = 0; i < conf->ntransports; i++) {
        if (!conf->transports[i].module ||
            !nqi_options_equal(conf->transports[i].options, entry->options))
            continue;
        nqi_conf_note(notes, NQ_ERR_CONFIG, at,
                      "the same transport with the same options stands before it in the list");
        return;
    }
}

/* ---- the older wire --------------------------------------------------------------------- */

/* What the core's own keys in the entry say. */
struct entry_core {
    struct nqi_value psk; /* a path; not set = none */
    enum nqi_wire wire;
};

static void entry_core_fini(struct entry_core *core)
{
    nqi_value_fini(&core->psk);
}

static void entry_check_wire(struct nqi_conf_notes *notes, const struct nqi_conf_transport *entry,
                             const struct nqi_conf *conf, const struct nqt_module *module,
                             const char *at)
{
    char pointer[NQI_CONF_AT];

    nqi_conf_pointer(at, "wire", pointer);
    if (entry->wire == NQI_WIRE_NATIVE)
        return;
    if (entry->wire == NQI_WIRE_BOTH && !conf->server)
        nqi_conf_note(notes, NQ_ERR_CONFIG, pointer,
                      "\"both\" is for servers: a client never tries out what the other side "
                      "speaks, so say \"netqueue\" or \"net-queue\"");
    else if (!(module->caps & NQT_CAP_PLAIN))
        nqi_conf_note(notes, NQ_ERR_CONFIG, pointer,
                      "the transport \"%s\" carries the wire \"netqueue\" only: say so in its "
                      "object",
                      module->name);
    else if (entry->wire == NQI_WIRE_OLDER && entry->circle)
        nqi_conf_note(notes, NQ_ERR_CONFIG, pointer,
                      "\"net-queue\" has no way to prove a pre-shared key: take \"psk\" away, or "
                      "give it to the transports that speak \"netqueue\"");
}

/* ---- keys ------------------------------------------------------------------------------- */

/* A key that is no option of the module: the core's, or unknown.
 */
static nq_err entry_core_key(const struct nqi_conf_ground *ground, const struct nqt_module *module,
                             const char *at, const char *name, const json_t *json,
                             struct entry_core *core)
{
    const struct nqi_key *key = nqi_key_find(NQI_CONF_ENTRY, name);
    NQI_CLEANUP(nqi_value_fini) struct nqi_value value = {0};
    char pointer[NQI_CONF_AT];
    nq_err err;

    if (key && key->opt.type == NQI_OPT_NAME)
        return NQ_OK;
    if (!key) {
        nqi_conf_note_unknown(ground->notes, NQI_CONF_ENTRY, at, name, module);
        return NQ_OK;
    }
    err = nqi_conf_read(ground->notes, key, nqi_conf_pointer(at, name, pointer), json,
                        ground->folder, &value);
    if (!err && value.set && key->opt.type == NQT_OPT_PATH) {
        core->psk = value;
        value = (struct nqi_value){0};
    } else if (!err && value.set && key->opt.type == NQT_OPT_ENUM) {
        core->wire = (enum nqi_wire)value.num;
    }
    return err;
}

/* One file, one circle, wherever it is named: the number of the first entry that names it. */
static uint32_t entry_circle(const struct nqi_conf *conf, const char *path)
{
    for (size_t i = 0; i < conf->ntransports; i++)
        if (conf->transports[i].psk && strcmp(conf->transports[i].psk, path) == 0)
            return conf->transports[i].circle;
    return (uint32_t)conf->ntransports + NQI_CIRCLE_QUEUE + 1;
}

/* The keys that its links go by: its own, or the queue's. */
static nq_err entry_psk(const struct nqi_conf_ground *ground, const char *at, struct nqi_value *psk,
                        const struct nqi_conf *conf, struct nqi_conf_transport *entry)
{
    char pointer[NQI_CONF_AT];

    entry->circle = conf->keyed ? NQI_CIRCLE_QUEUE : 0;
    if (!psk->set || (ground->psk && strcmp(ground->psk, psk->str) == 0))
        return NQ_OK;
    entry->circle = entry_circle(conf, psk->str);
    entry->psk = NQI_STEAL(psk->str);
    return nqi_conf_keys(ground->notes, nqi_conf_pointer(at, "psk", pointer), entry->psk, conf,
                         &entry->keystore);
}

static nq_err entry_set(const struct nqi_conf_ground *ground, struct nqi_options *options, size_t i,
                        const json_t *json, const char *at, const char *name)
{
    char pointer[NQI_CONF_AT], why[NQI_WHY];
    nq_err err = nqi_options_set(options, i, json, ground->folder, why);

    if (err != NQ_ERR_CONFIG)
        return err;
    nqi_conf_note(ground->notes, err, nqi_conf_pointer(at, name, pointer), "%s", why);
    return NQ_OK;
}

/* An option of the module is called "group.", and more. */
static bool entry_is_group(const struct nqt_module *module, const char *group)
{
    size_t len = strlen(group);

    for (size_t i = 0; i < module->nopt; i++) {
        const char *name = nqi_options_at(module, i)->name;

        if (strncmp(name, group, len) == 0 && name[len] == '.')
            return true;
    }
    return false;
}

/* The object `group`, whose members are options. */
static nq_err entry_group(const struct nqi_conf_ground *ground, struct nqi_options *options,
                          const json_t *json, const char *at, const char *group)
{
    const struct nqt_module *module = nqi_options_module(options);
    char pointer[NQI_CONF_AT], place[NQI_CONF_AT], name[80];
    json_t *object = (json_t *)json, *value; /* as below */
    const char *member;
    nq_err err = NQ_OK;
    size_t i;

    nqi_conf_pointer(at, group, place);
    if (!json_is_object(json)) {
        nqi_conf_note(ground->notes, NQ_ERR_CONFIG, place, "must be an object, in { }");
        return NQ_OK;
    }
    if (!json_object_size(json)) /* it would say nothing, and may be taken for protection */
        nqi_conf_note(ground->notes, NQ_ERR_CONFIG, place,
                      "is empty; `netqueue transports %s` "
                      "lists its keys",
                      module->name);
    json_object_foreach(object, member, value)
    {
        snprintf(name, sizeof(name), "%s.%s", group, member);
        i = nqi_options_find(module, name);
        if (i == NQI_OPTIONS_NONE)
            nqi_conf_note(ground->notes, NQ_ERR_CONFIG, nqi_conf_pointer(place, member, pointer),
                          "unknown key; `netqueue transports %s` lists them", module->name);
        else
            err = entry_set(ground, options, i, value, place, member);
        if (err)
            return err;
    }
    return NQ_OK;
}

static nq_err entry_keys(const struct nqi_conf_ground *ground, struct nqi_options *options,
                         const json_t *json, const char *at, struct entry_core *core)
{
    char why[NQI_WHY];
    json_t *object = (json_t *)json; /* the loop wants it so, and changes nothing */
    struct nqi_options *inner = nqi_options_inner(options), *whose;
    const char *name;
    json_t *value;
    nq_err err;
    size_t i;

    json_object_foreach(object, name, value)
    {
        whose = options;
        i = nqi_options_find(nqi_options_module(options), name);
        if (i == NQI_OPTIONS_NONE && inner && !entry_is_group(nqi_options_module(options), name)) {
            whose = inner;
            i = nqi_options_find(nqi_options_module(inner), name);
        }
        if (i != NQI_OPTIONS_NONE)
            err = entry_set(ground, whose, i, value, at, name);
        else if (entry_is_group(nqi_options_module(whose), name))
            err = entry_group(ground, whose, value, at, name);
        else
            err = entry_core_key(ground, nqi_options_module(whose), at, name, value, core);
        if (err)
            return err;
    }
    err = nqi_options_fill(options, ground->folder, why);
    return err || !inner ? err : nqi_options_fill(inner, ground->folder, why);
}

/* ---- module ----------------------------------------------------------------------------- */

/* The module that the key names, or NULL after a problem. */
static nq_err entry_module(const struct nqi_conf_ground *ground, const char *key,
                           const json_t *name, const char *at, const struct nqt_module **ret)
{
    char pointer[NQI_CONF_AT], seen[80];
    nq_err err;

    *ret = NULL;
    nqi_conf_pointer(at, key, pointer);
    if (!json_is_string(name)) {
        nqi_conf_note(ground->notes, NQ_ERR_CONFIG, pointer,
                      "must be the name of a transport, not %s",
                      name ? nqi_value_show(name, seen, sizeof(seen)) : "missing");
        return NQ_OK;
    }
    err = ground->module(json_string_value(name), ground->paths, ground->npaths, ret);
    if (err && err != NQ_ERR_NOMEM) {
        nqi_conf_note(ground->notes, err, pointer, "%s", nq_error());
        return NQ_OK;
    }
    return err;
}

static void entry_json_decref(json_t **json)
{
    json_decref(*json);
}

/* The options of the transport that this one stands on, not set yet; none after a problem. */
static nq_err entry_inner(const struct nqi_conf_ground *ground, struct nqi_options *options,
                          const json_t *json, const char *at)
{
    const struct nqt_module *outer = nqi_options_module(options), *module;
    size_t i = nqi_options_find_inner(outer);
    const struct nqt_opt *opt = i == NQI_OPTIONS_NONE ? NULL : nqi_options_at(outer, i);
    NQI_CLEANUP(entry_json_decref) json_t *name = NULL;
    struct nqi_options *inner;
    char pointer[NQI_CONF_AT];
    nq_err err;

    if (!opt)
        return NQ_OK;
    name = json_incref(json_object_get(json, opt->name));
    if (!name)
        name = nqi_value_default_json(opt);
    if (!json_is_string(name)) /* missing or no text: noted with the other keys */
        return NQ_OK;
    err = entry_module(ground, opt->name, name, at, &module);
    if (err || !module)
        return err;
    if (nqi_options_find_inner(module) != NQI_OPTIONS_NONE) {
        nqi_conf_note(ground->notes, NQ_ERR_CONFIG, nqi_conf_pointer(at, opt->name, pointer),
                      "the transport \"%s\" stands on another one itself", module->name);
        return NQ_OK;
    }
    err = nqi_options_new(module, &inner);
    if (!err)
        nqi_options_set_inner(options, inner);
    return err;
}

/* What the tables alone do not say, of one transport. */
static void entry_check(const struct nqi_conf_ground *ground, const struct nqi_conf *conf,
                        bool keyed, const struct nqi_options *options, const json_t *json,
                        const char *at)
{
    entry_check_caps(ground->notes, nqi_options_module(options), at, conf->server);
    entry_check_required(ground->notes, options, json, at);
    if (!conf->insecure && !keyed)
        entry_check_open(ground->notes, options, at);
    entry_look_at_key(ground->notes, options, at);
}

/* The transport is not here: a client may have others.  The reason is in nq_error(). */
static nq_err entry_without_module(const struct nqi_conf_ground *ground, const char *name,
                                   const char *at, struct nqi_conf *conf)
{
    struct nqi_conf_absent *absent = calloc(1, sizeof(*absent));
    char pointer[NQI_CONF_AT];

    if (!absent)
        return NQ_ERR_NOMEM;
    nqi_log_escape(name, absent->name, sizeof(absent->name));
    snprintf(absent->why, sizeof(absent->why), "%s", nq_error());
    nqi_conf_warn(ground->notes, NQ_ERR_PLUGIN, nqi_conf_pointer(at, "transport", pointer),
                  nq_error());
    conf->transports[conf->ntransports++].absent = absent;
    return NQ_OK;
}

/* The entry's module, or NULL: it is noted why. */
static nq_err entry_transport(const struct nqi_conf_ground *ground, const json_t *json,
                              const char *at, struct nqi_conf *conf, const struct nqt_module **ret)
{
    const json_t *name = json_object_get(json, "transport");
    nq_err err;

    if (conf->server || !json_is_string(name))
        return entry_module(ground, "transport", name, at, ret);
    *ret = NULL;
    err = ground->module(json_string_value(name), ground->paths, ground->npaths, ret);
    return err == NQ_ERR_PLUGIN ? entry_without_module(ground, json_string_value(name), at, conf)
                                : err;
}

/* The rules for the entry, and it stands in the list. */
static void entry_add(const struct nqi_conf_ground *ground, const json_t *json, const char *at,
                      size_t problems, struct nqi_conf_transport *entry, struct nqi_conf *conf)
{
    struct nqi_options *options = entry->options;

    bool keyed = entry->circle && entry->wire == NQI_WIRE_NATIVE; /* the other wire proves none */
    size_t ca = nqi_options_find(entry->module, "tls.ca");

    nqi_options_set_proven(options, keyed);
    nqi_options_set_id(options, &conf->id);
    nqi_options_set_wire(options, entry->wire);
    entry->certified = conf->server && ca != NQI_OPTIONS_NONE && nqi_options_is_set(options, ca);
    entry_check_wire(ground->notes, entry, conf, entry->module, at);
    entry_check(ground, conf, keyed, options, json, at);
    if (nqi_options_inner(options))
        entry_check(ground, conf, keyed, nqi_options_inner(options), json, at);
    if (ground->notes->count == problems)
        entry_check_twice(ground->notes, conf, entry, at);
    conf->transports[conf->ntransports++] = *entry;
    *entry = (struct nqi_conf_transport){0};
}

nq_err nqi_conf_entry(const struct nqi_conf_ground *ground, const json_t *json, const char *at,
                      struct nqi_conf *conf)
{
    NQI_CLEANUP(nqi_conf_transport_fini) struct nqi_conf_transport entry = {0};
    NQI_CLEANUP(entry_core_fini) struct entry_core core = {.wire = conf->wire};
    size_t before = ground->notes->count;
    nq_err err;

    if (!json_is_object(json)) {
        nqi_conf_note(ground->notes, NQ_ERR_CONFIG, at, "must be an object, in { }");
        return NQ_OK;
    }
    err = entry_transport(ground, json, at, conf, &entry.module);
    if (err || !entry.module)
        return err;
    err = nqi_options_new(entry.module, &entry.options);
    if (!err)
        err = entry_inner(ground, entry.options, json, at);
    if (!err)
        err = entry_keys(ground, entry.options, json, at, &core);
    entry.wire = core.wire;
    if (!err)
        err = entry_psk(ground, at, &core.psk, conf, &entry);
    if (!err)
        entry_add(ground, json, at, before, &entry, conf);
    return err;
}

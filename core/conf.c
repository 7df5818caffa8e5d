/* Loading a configuration: parse, walk the tree along the key table, then the transports, then
 * the rules between keys.  A problem is noted and the walk goes on, so that all of them are
 * found at once; only lack of memory ends it early. */
#include "core/conf.h"
#include "core/conf_entry.h"
#include "core/conf_json.h"
#include "core/conf_keys.h"
#include "core/conf_note.h"
#include "core/err.h"
#include "core/local.h"
#include "core/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct conf_load {
    struct nqi_conf_notes notes;
    nqi_conf_module_fn module;
    char *folder;
    json_t *root;
    json_t *brief; /* the short form's one entry, gathered from the root; or NULL */
    struct nqi_value paths, psk, stats;
    struct nqi_conf *conf;
};

/* ---- keys ------------------------------------------------------------------------------- */

static void conf_store(struct nqi_conf *conf, const struct nqi_key *key, int64_t num)
{
    char *field = (char *)conf + key->offset;
    uint32_t num32 = (uint32_t)num;
    bool truth = num;

    switch (key->width) {
    case sizeof(truth):
        memcpy(field, &truth, sizeof(truth));
        break;
    case sizeof(num32):
        memcpy(field, &num32, sizeof(num32));
        break;
    case sizeof(num): /* -1 is NQI_UNLIMITED in the fields that are unsigned */
        memcpy(field, &num, sizeof(num));
        break;
    default:
        break;
    }
}

static nq_err conf_defaults(struct conf_load *load)
{
    NQI_CLEANUP(nqi_value_fini) struct nqi_value value = {0};
    char why[NQI_WHY];
    nq_err err;

    for (size_t i = 0; i < nqi_nkeys; i++) {
        if (!nqi_keys[i].opt.def)
            continue;
        err = nqi_value_default(&nqi_keys[i].opt, load->folder, &value, why);
        if (err)
            return err;
        conf_store(load->conf, &nqi_keys[i], value.num);
        nqi_value_fini(&value);
    }
    return NQ_OK;
}

static void conf_id(struct conf_load *load, const char *at, const json_t *json)
{
    nq_uuid ones, id;
    char seen[80];

    memset(&ones, 0xff, sizeof(ones));
    if (!json_is_string(json) || nq_uuid_parse(json_string_value(json), &id))
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, at,
                      "must be a UUID of 36 characters like "
                      "\"6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e\", not %s",
                      nqi_value_show(json, seen, sizeof(seen)));
    else if (nq_uuid_is_nil(&id) || nq_uuid_equal(&id, &ones))
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, at,
                      "the UUIDs of only zeros and only ones are no names");
    else
        load->conf->id = id;
}

static void conf_keep(struct nqi_value *place, struct nqi_value *value)
{
    *place = *value;
    *value = (struct nqi_value){0};
}

/* A key whose value is neither an object nor about transports. */
static nq_err conf_value(struct conf_load *load, const struct nqi_key *key, const char *at,
                         const json_t *json)
{
    NQI_CLEANUP(nqi_value_fini) struct nqi_value value = {0};
    nq_err err = nqi_conf_read(&load->notes, key, at, json, load->folder, &value);

    if (err || !value.set)
        return err;
    conf_store(load->conf, key, value.num);
    if (key->opt.type == NQT_OPT_LIST)
        conf_keep(&load->paths, &value);
    else if (key->opt.type == NQT_OPT_PATH)
        conf_keep(strcmp(key->opt.name, "/stats/socket") ? &load->psk : &load->stats, &value);
    return NQ_OK;
}

static nq_err conf_object(struct conf_load *load, const char *place, json_t *json);

static nq_err conf_key(struct conf_load *load, const struct nqi_key *key, const char *at,
                       json_t *json)
{
    switch (key->opt.type) {
    case NQI_OPT_OBJECT:
        return conf_object(load, key->opt.name, json);
    case NQI_OPT_UUID:
        conf_id(load, at, json);
        return NQ_OK;
    case NQI_OPT_NAME:
    case NQI_OPT_TRANSPORTS:
        return NQ_OK; /* when all other keys are read */
    default:
        return conf_value(load, key, at, json);
    }
}

/* The members of the root ("") or of one of its objects: the place in the table is the place in
 * the file.  With "transport" in the root, members that the core does not know are the
 * transport's. */
static nq_err conf_object(struct conf_load *load, const char *place, json_t *json)
{
    const struct nqi_key *key;
    char at[NQI_CONF_AT];
    const char *name;
    json_t *value;
    nq_err err = NQ_OK;

    if (!json_is_object(json))
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, place, "must be an object, in { }");
    json_object_foreach(json, name, value)
    {
        key = nqi_key_find(place, name);
        if (load->brief && !*place && (!key || key->opt.type == NQI_OPT_NAME))
            err = json_object_set(load->brief, name, value) ? NQ_ERR_NOMEM : NQ_OK;
        else if (key)
            err = conf_key(load, key, nqi_conf_pointer(place, name, at), value);
        else
            nqi_conf_note_unknown(&load->notes, place, place, name, NULL);
        if (err)
            return err;
    }
    return NQ_OK;
}

static nq_err conf_root(struct conf_load *load)
{
    if (json_object_get(load->root, "transport")) {
        load->brief = json_object();
        if (!load->brief)
            return NQ_ERR_NOMEM;
    }
    if (!json_object_get(load->root, "purpose"))
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, "/purpose",
                      "is missing: must be \"server\" or \"client\"");
    return conf_object(load, "", load->root);
}

/* ---- who this is ------------------------------------------------------------------------- */

static nq_err conf_keys(struct conf_load *load)
{
    struct nqi_conf *conf = load->conf;

    conf->keyed = load->psk.set;
    return conf->keyed
               ? nqi_conf_keys(&load->notes, "/security/psk", load->psk.str, conf, &conf->keystore)
               : NQ_OK;
}

static nq_err conf_identity(struct conf_load *load)
{
    nq_err err = NQ_OK;

    if (!json_object_get(load->root, "id"))
        err = nq_uuid_random(&load->conf->id);
    return err ? err : conf_keys(load);
}

/* ---- transports ------------------------------------------------------------------------- */

static nq_err conf_transports(struct conf_load *load)
{
    const struct nqi_conf_ground ground = {
        .notes = &load->notes,
        .module = load->module,
        .folder = load->folder,
        .paths = (const char *const *)load->paths.list,
        .npaths = load->paths.count,
        .psk = load->psk.str,
    };
    json_t *list = json_object_get(load->root, "transports");
    size_t n = load->brief ? 1 : json_array_size(list);
    char at[NQI_CONF_AT];
    nq_err err;

    if (load->brief && list)
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, "/transport",
                      "stands beside \"transports\", for which it is short: use one of them");
    else if (!load->brief && (!n || n > NQI_LIST_CAP))
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, "/transports",
                      "%s an array of 1 to %d objects like {\"transport\": \"NAME\", ...}",
                      list ? "must be" : "is missing: must be", NQI_LIST_CAP);
    n = NQI_MIN(n, NQI_LIST_CAP);
    load->conf->transports = calloc(n + 1, sizeof(*load->conf->transports));
    if (!load->conf->transports)
        return NQ_ERR_NOMEM;
    load->conf->brief = load->brief;
    if (load->brief)
        return nqi_conf_entry(&ground, load->brief, "", load->conf);
    for (size_t i = 0; i < n; i++) {
        snprintf(at, sizeof(at), "/transports/%zu", i);
        err = nqi_conf_entry(&ground, json_array_get(list, i), at, load->conf);
        if (err)
            return err;
    }
    return NQ_OK;
}

/* Transports that are not here can be done without while there is another. */
static void conf_need_transport(struct conf_load *load)
{
    const struct nqi_conf *conf = load->conf;

    for (size_t i = 0; i < conf->ntransports; i++)
        if (conf->transports[i].module)
            return;
    nqi_conf_insist(&load->notes);
}

/* ---- where the queue tells of itself ----------------------------------------------------- */

static void conf_stats(struct conf_load *load)
{
    char *path = NQI_STEAL(load->stats.str);

    if (path && strlen(path) > NQI_LOCAL_PATH)
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, "/stats/socket",
                      "is longer than %d bytes, too long for a socket: %s", NQI_LOCAL_PATH, path);
    load->conf->stats_socket = path;
}

/* ---- rules between keys ----------------------------------------------------------------- */

/* `num` must not exceed `limit`; when only its default does, it follows. */
static void conf_follow(struct conf_load *load, const char *object, const char *name, uint64_t *num,
                        const char *limit_name, uint64_t limit)
{
    char place[NQI_CONF_AT], at[NQI_CONF_AT];

    if (*num <= limit)
        return;
    nqi_conf_pointer("", object, place);
    if (json_object_get(json_object_get(load->root, object), name))
        nqi_conf_note(&load->notes, NQ_ERR_CONFIG, nqi_conf_pointer(place, name, at),
                      "is more than \"%s\" beside it allows", limit_name);
    *num = limit;
}

static nq_err conf_finish(struct conf_load *load)
{
    struct nqi_conf *conf = load->conf;

    conf_follow(load, "limits", "max_message", &conf->max_message, "memory", conf->memory);
    conf_follow(load, "session", "coalesce", &conf->coalesce, "record", conf->record);
    return NQ_OK;
}

/* ---- load ------------------------------------------------------------------------------- */

void nqi_conf_transport_fini(struct nqi_conf_transport *transport)
{
    nqi_options_free(transport->options);
    free(transport->absent);
    nqi_keystore_close(transport->keystore);
    free(transport->psk);
}

void nqi_conf_free(struct nqi_conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < conf->ntransports; i++)
        nqi_conf_transport_fini(&conf->transports[i]);
    free(conf->transports);
    nqi_keystore_close(conf->keystore);
    free(conf->stats_socket);
    free(conf);
}

static void conf_load_fini(struct conf_load *load)
{
    nqi_conf_free(load->conf);
    nqi_value_fini(&load->paths);
    nqi_value_fini(&load->psk);
    nqi_value_fini(&load->stats);
    json_decref(load->brief);
    json_decref(load->root);
    free(load->folder);
}

/* The folder of `path`, or the working directory, as an absolute path. */
static nq_err conf_folder(const char *path, char **ret)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    size_t own = slash ? (size_t)NQI_MAX(slash - path, 1) : 0;
    bool absolute = path && *path == '/';
    char *cwd = NULL, *folder;
    size_t len;

    if (!absolute) {
        cwd = getcwd(NULL, 0);
        if (!cwd)
            return nqi_fail_errno("cannot find the working directory");
    }
    len = (cwd ? strlen(cwd) : 0) + own + 2;
    folder = malloc(len);
    if (folder)
        snprintf(folder, len, "%s%s%.*s", cwd ? cwd : "", cwd && own ? "/" : "", (int)own,
                 path ? path : "");
    free(cwd);
    if (!folder)
        return NQ_ERR_NOMEM;
    *ret = folder;
    return NQ_OK;
}

/* The text could not be parsed: that is the one problem.  nq_error() names file, line and column;
 * who asked for problems knows the file. */
static nq_err conf_malformed(struct nqi_conf_notes *notes)
{
    size_t len = strlen(notes->source) + 1;
    const char *text = notes->first_text;

    snprintf(notes->first_text, sizeof(notes->first_text), "%s", nq_error());
    if (strlen(text) > len)
        text += len + (text[len] == ' ');
    if (notes->problem)
        notes->problem(notes->arg, "", text);
    return nqi_fail(NQ_ERR_CONFIG, "%s", notes->first_text);
}

static nq_err conf_walk(struct conf_load *load)
{
    nq_err err = conf_defaults(load);

    if (!err)
        err = conf_root(load);
    if (!err)
        err = conf_identity(load);
    if (!err)
        err = conf_transports(load);
    if (err)
        return err;
    conf_need_transport(load);
    conf_stats(load);
    return conf_finish(load);
}

nq_err nqi_conf_load(const char *path, const char *text, size_t len, nqi_conf_module_fn module,
                     nq_problem_fn problem, void *arg, struct nqi_conf **ret)
{
    NQI_CLEANUP(conf_load_fini)
    struct conf_load load = {
        .notes = {.source = nqi_conf_json_source(path), .problem = problem, .arg = arg},
        .module = module,
    };
    nq_err err = nqi_conf_json(path, text, len, &load.root);

    if (err == NQ_ERR_CONFIG)
        return conf_malformed(&load.notes);
    if (err)
        return err;
    err = conf_folder(path, &load.folder);
    if (err == NQ_ERR_SYS)
        return err;
    load.conf = calloc(1, sizeof(*load.conf));
    if (!err)
        err = load.conf ? conf_walk(&load) : NQ_ERR_NOMEM;
    if (err == NQ_ERR_NOMEM)
        return nqi_fail(err, "%s: no memory to check it", load.notes.source);
    if (err)
        return err;
    if (load.notes.count)
        return nqi_fail(load.notes.first, "%s", load.notes.first_text);
    *ret = NQI_STEAL(load.conf);
    return NQ_OK;
}

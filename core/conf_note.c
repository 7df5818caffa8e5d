/* Texts are made in buffers of fixed size: a problem can always be noted, and one that quotes an
 * endless key is cut. */
#include "core/conf_note.h"
#include "core/log.h"
#include "core/near.h"
#include "core/options.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

char *nqi_conf_pointer(const char *at, const char *key, char out[NQI_CONF_AT])
{
    char raw[NQI_CONF_AT];
    size_t len = (size_t)snprintf(raw, sizeof(raw), "%.120s/", at);

    for (; *key && len < sizeof(raw) - 2; key++) {
        if (*key == '~' || *key == '/') {
            raw[len++] = '~';
            raw[len++] = *key == '~' ? '0' : '1';
        } else {
            raw[len++] = *key;
        }
    }
    raw[len] = '\0';
    return nqi_log_escape(raw, out, NQI_CONF_AT);
}

/* @param raw  the words; what they quote may be anything, so they are made printable here */
static void note_report(struct nqi_conf_notes *notes, bool first, nq_err err, const char *at,
                        const char *raw)
{
    char text[NQI_CONF_TEXT];

    nqi_log_escape(raw, text, sizeof(text));
    if (first) {
        notes->first = err;
        snprintf(notes->first_text, sizeof(notes->first_text), "%.400s: %s%s%.1300s", notes->source,
                 at, *at ? ": " : "", text);
    }
    if (notes->problem)
        notes->problem(notes->arg, at, text);
}

void nqi_conf_note(struct nqi_conf_notes *notes, nq_err err, const char *at, const char *format,
                   ...)
{
    char text[NQI_CONF_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    note_report(notes, !notes->count++, err, at, text);
}

void nqi_conf_warn(struct nqi_conf_notes *notes, nq_err err, const char *at, const char *text)
{
    note_report(notes, !notes->count && !notes->warned++, err, at, text);
}

void nqi_conf_insist(struct nqi_conf_notes *notes)
{
    if (!notes->count)
        notes->count = notes->warned;
}

void nqi_conf_remark(const struct nqi_conf_notes *notes, const char *at, const char *raw)
{
    char text[NQI_CONF_TEXT];

    nqi_log_escape(raw, text, sizeof(text));
    if (notes->problem)
        notes->problem(notes->arg, at, text);
    else
        nqi_log(NQ_LOG_WARN, "%s: %s: %s", notes->source, at, text);
}

/* ---- unknown keys ----------------------------------------------------------------------- */

/* Where the core has a key of this name outside of "transports"; NULL = nowhere. */
static const char *note_elsewhere(const char *name)
{
    for (size_t i = 0; i < nqi_nkeys; i++)
        if (strcmp(nqi_key_name(&nqi_keys[i]), name) == 0 &&
            !nqi_key_is_in(&nqi_keys[i], NQI_CONF_ENTRY))
            return nqi_keys[i].opt.name;
    return NULL;
}

static const char *note_alias(const char *name)
{
    for (size_t i = 0; i < nqi_nkey_aliases; i++)
        if (strcmp(nqi_key_aliases[i].name, name) == 0)
            return nqi_key_aliases[i].here;
    return NULL;
}

void nqi_conf_note_unknown(struct nqi_conf_notes *notes, const char *place, const char *at,
                           const char *name, const struct nqt_module *module)
{
    const char *elsewhere = note_elsewhere(name), *alias = note_alias(name);
    struct nqi_near near = {.text = name};
    char pointer[NQI_CONF_AT];

    /* The short form's object is the root, which has keys of its own. */
    for (size_t i = 0; i < nqi_nkeys; i++)
        if (nqi_key_is_in(&nqi_keys[i], place) || (module && nqi_key_is_in(&nqi_keys[i], at)))
            nqi_near_try(&near, nqi_key_name(&nqi_keys[i]));
    for (size_t i = 0; module && i < module->nopt; i++)
        nqi_near_try(&near, nqi_options_at(module, i)->name);

    nqi_conf_pointer(at, name, pointer);
    if (near.distance > 1 && alias)
        nqi_conf_note(notes, NQ_ERR_CONFIG, pointer, "unknown key; here it is called %s", alias);
    else if (near.distance > 1 && elsewhere)
        nqi_conf_note(notes, NQ_ERR_CONFIG, pointer, "unknown key; it stands at %s", elsewhere);
    else
        nqi_conf_note(notes, NQ_ERR_CONFIG, pointer, "unknown key; the nearest is \"%s\"",
                      near.best);
}

/* ---- values ----------------------------------------------------------------------------- */

nq_err nqi_conf_read(struct nqi_conf_notes *notes, const struct nqi_key *key, const char *at,
                     const json_t *json, const char *folder, struct nqi_value *ret)
{
    struct nqi_value value = {0};
    char why[NQI_WHY];
    nq_err err = NQ_ERR_CONFIG;

    if (key->later)
        snprintf(why, sizeof(why), "\"%s\" is not in this version", nqi_key_name(key));
    else
        err = nqi_value_read(&key->opt, json, folder, &value, why);
    if (err == NQ_ERR_CONFIG)
        nqi_conf_note(notes, err, at, "%s", why);
    else if (err)
        return err;
    *ret = value;
    return NQ_OK;
}

/* See place.h.
 *
 *     {"both": {OPTIONS}, "server": {OPTIONS}, "client": {OPTIONS}, "tiny": {OPTIONS}, "port":
 * NAME}
 *
 * An option that is an object has members; they become options "group.member". */
#include "tools/conform/place.h"
#include "tools/say.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR_WORD "$DIR"
#define NAME_MAX_BYTES 128

/* ---- values --------------------------------------------------------------------------- */

/* `text` with the folder instead of $DIR; owned, NULL = no memory. */
static char *expand(const char *text, const char *folder)
{
    const char *word = strstr(text, DIR_WORD);
    char *ret = NULL;

    if (!word)
        return strdup(text);
    if (asprintf(&ret, "%.*s%s%s", (int)(word - text), text, folder, word + strlen(DIR_WORD)) < 0)
        return NULL;
    return ret;
}

/* A list's items, each on a line. */
static char *text_of_list(const json_t *list)
{
    char *ret = strdup("");
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        char *longer = NULL;

        if (!json_is_string(item) ||
            asprintf(&longer, "%s%s%s", ret, i ? "\n" : "", json_string_value(item)) < 0)
            longer = NULL;
        free(ret);
        ret = longer;
        if (!ret)
            return NULL;
    }
    return ret;
}

/* As the host reads it; owned, NULL = it is no value of an option. */
static char *text_of(const json_t *value, const char *folder)
{
    char *ret = NULL;

    if (json_is_string(value))
        return expand(json_string_value(value), folder);
    if (json_is_boolean(value))
        return strdup(json_is_true(value) ? "true" : "false");
    if (json_is_array(value))
        return text_of_list(value);
    if (json_is_integer(value) &&
        asprintf(&ret, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) >= 0)
        return ret;
    return NULL;
}

/* ---- options ------------------------------------------------------------------------ */

static void side_fini(struct nqtest_side *side)
{
    for (size_t i = 0; i < side->n; i++) {
        free((char *)(uintptr_t)side->opts[i].name);
        free((char *)(uintptr_t)side->opts[i].value);
    }
}

/* The later one counts. */
static bool side_set(struct nqtest_side *side, const char *name, const json_t *value,
                     const char *folder)
{
    char *text = text_of(value, folder), *own;

    if (!text) {
        nqi_say("\"%s\" is neither text, whole number, boolean nor a list of texts", name);
        return false;
    }
    for (size_t i = 0; i < side->n; i++)
        if (strcmp(side->opts[i].name, name) == 0) {
            free((char *)(uintptr_t)side->opts[i].value);
            side->opts[i].value = text;
            return true;
        }
    own = side->n < NQTEST_PLACE_OPTS ? strdup(name) : NULL;
    if (!own) {
        nqi_say("\"%s\": at most %d options", name, NQTEST_PLACE_OPTS);
        free(text);
        return false;
    }
    side->opts[side->n++] = (struct nqtest_opt){own, text};
    return true;
}

/* @param group  what stands before the names; "" = nothing */
static bool side_add(struct nqtest_side *side, json_t *opts, const char *group, const char *folder)
{
    const char *key;
    json_t *value;

    json_object_foreach(opts, key, value)
    {
        char name[NAME_MAX_BYTES];

        snprintf(name, sizeof(name), "%s%s%s", group, *group ? "." : "", key);
        if (json_is_object(value) && !*group ? !side_add(side, value, name, folder)
                                             : !side_set(side, name, value, folder))
            return false;
    }
    return true;
}

/* ---- the object ------------------------------------------------------------------------- */

/* Its members, and which sides each is for. */
static bool place_add(struct nqtest_place *place, json_t *root, const char *folder)
{
    const struct {
        const char *key;
        struct nqtest_side *sides[4];
    } parts[] = {
        {"both", {&place->server, &place->client, &place->tiny_server, &place->tiny_client}},
        {"server", {&place->server, &place->tiny_server}},
        {"client", {&place->client, &place->tiny_client}},
        {"tiny", {&place->tiny_server, &place->tiny_client}},
    };

    for (size_t i = 0; i < NQI_LEN(parts); i++) {
        json_t *opts = json_object_get(root, parts[i].key);

        if (opts && !json_is_object(opts)) {
            nqi_say("\"%s\" is no object", parts[i].key);
            return false;
        }
        for (size_t k = 0; k < NQI_LEN(parts[i].sides) && parts[i].sides[k]; k++)
            if (!side_add(parts[i].sides[k], opts, "", folder))
                return false;
    }
    return true;
}

static bool place_keys(struct nqtest_place *place, json_t *root)
{
    static const char *const known[] = {"both", "server", "client", "tiny", "port"};
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value)
    {
        bool is_known = false;

        for (size_t i = 0; i < NQI_LEN(known); i++)
            is_known |= strcmp(known[i], key) == 0;
        if (!is_known) {
            nqi_say("\"%s\" is none of both, server, client, tiny and port", key);
            return false;
        }
        place->is_tiny |= strcmp(key, "tiny") == 0;
        if (strcmp(key, "port") == 0 && json_is_string(value))
            place->port = strdup(json_string_value(value));
    }
    return true;
}

bool nqtest_place_read(const char *json, const char *folder, struct nqtest_place *ret)
{
    json_error_t error;
    bool is_text = json[strspn(json, " \t\n")] == '{';
    json_t *root = is_text ? json_loads(json, JSON_REJECT_DUPLICATES, &error)
                           : json_load_file(json, JSON_REJECT_DUPLICATES, &error);
    bool good;

    if (!root) {
        nqi_say("%s: line %d: %s", is_text ? "--config" : json, error.line, error.text);
        return false;
    }
    good = json_is_object(root);
    if (!good)
        nqi_say("%s: it is no object", json);
    good = good && place_keys(ret, root) && place_add(ret, root, folder);
    json_decref(root);
    return good;
}

void nqtest_place_fini(struct nqtest_place *place)
{
    side_fini(&place->server);
    side_fini(&place->client);
    side_fini(&place->tiny_server);
    side_fini(&place->tiny_client);
    free(place->port);
}

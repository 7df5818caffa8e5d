/* Values in messages.  The library parses and checks; nothing of a pickle is run. */
#include "tools/values.h"
#include <jansson.h>
#include <netqueue/datum.h>
#include <netqueue/serializer.h>
#include <string.h>

static void values_jsonp(json_t **json)
{
    json_decref(*json);
}

static void values_datump(nq_datum **datum)
{
    nq_datum_unref(*datum);
}

bool nqi_value_is_kind(const char *kind)
{
    return strcmp(kind, "json") == 0 || strcmp(kind, "pickle") == 0;
}

static nq_err values_load_json(nq_msg *msg, json_t **ret)
{
    void *object = NULL;
    nq_err err = nq_msg_load(nq_serializer_find("json"), msg, &object);

    if (err == NQ_OK)
        *ret = object;
    return err;
}

static nq_err values_load_pickle(nq_msg *msg, json_t **ret)
{
    NQI_CLEANUP(values_datump) nq_datum *datum = NULL;
    void *object = NULL;
    nq_err err = nq_msg_load(nq_serializer_find("pickle"), msg, &object);

    if (err != NQ_OK)
        return err;
    datum = object;
    return nq_datum_to_json(datum, ret);
}

nq_err nqi_value_pack(const char *kind, nq_msg *msg, nq_msg **ret)
{
    NQI_CLEANUP(values_jsonp) json_t *json = NULL;
    NQI_CLEANUP(values_datump) nq_datum *datum = NULL;
    nq_err err = values_load_json(msg, &json);

    if (err != NQ_OK)
        return err;
    if (strcmp(kind, "json") == 0)
        return nq_msg_dump(nq_serializer_find(kind), json, ret);
    err = nq_datum_from_json(json, &datum);
    return err == NQ_OK ? nq_msg_dump(nq_serializer_find(kind), datum, ret) : err;
}

nq_err nqi_value_unpack(const char *kind, nq_msg *msg, nq_msg **ret)
{
    NQI_CLEANUP(values_jsonp) json_t *json = NULL;
    nq_err err =
        strcmp(kind, "json") == 0 ? values_load_json(msg, &json) : values_load_pickle(msg, &json);

    return err == NQ_OK ? nq_msg_dump(nq_serializer_find("json"), json, ret) : err;
}

/* Reading of one value, in two steps: text and numbers become what the type says, then the range
 * or the choices decide.  Defaults are texts in the tables and take the same way, so that a
 * default which breaks its own range is found by the tests of the table. */
#include "core/value.h"
#include "core/near.h"
#include "core/utf8.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value_unit {
    const char *name;
    int64_t factor;
};

static const struct value_unit value_sizes[] = {
    {"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {0},
};

static const struct value_unit value_times[] = {
    {"h", 3600 * NQI_NS_PER_S},
    {"min", 60 * NQI_NS_PER_S},
    {"s", NQI_NS_PER_S},
    {"ms", NQI_NS_PER_MS},
    {"us", NQI_NS_PER_US},
    {"ns", 1},
    {0},
};

static const struct {
    const char *text;
    uint32_t flag;
    int64_t num;
} value_word_list[] = {
    {"unlimited", NQI_OPT_UNLIMITED, -1},
    {"auto", NQI_OPT_AUTO, -1},
    {"off", NQI_OPT_OFF, 0},
};

static const struct value_unit *value_units(const struct nqt_opt *opt)
{
    return opt->type == NQT_OPT_SIZE ? value_sizes : value_times;
}

static nq_err value_refuse(char why[NQI_WHY], const char *format, ...) NQI_PRINTF(2, 3);

static nq_err value_refuse(char why[NQI_WHY], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, NQI_WHY, format, args);
    va_end(args);
    return NQ_ERR_CONFIG;
}

/* ---- for people ------------------------------------------------------------------------- */

const char *nqi_value_type(const struct nqt_opt *opt)
{
    switch (opt->type) {
    case NQT_OPT_BOOL:
        return "boolean";
    case NQT_OPT_INT:
        return "integer";
    case NQT_OPT_SIZE:
        return "size";
    case NQT_OPT_DURATION:
        return "duration";
    case NQT_OPT_STR:
    case NQI_OPT_NAME:
        return "string";
    case NQT_OPT_ENUM:
        return "choice";
    case NQT_OPT_PATH:
        return "path";
    case NQT_OPT_LIST:
        return "list";
    case NQT_OPT_TRANSPORT:
        return "transport";
    case NQI_OPT_UUID:
        return "uuid";
    case NQI_OPT_OBJECT:
        return "object";
    case NQI_OPT_TRANSPORTS:
        return "array";
    default:
        return "unknown";
    }
}

char *nqi_value_number_text(const struct nqt_opt *opt, int64_t num, char out[NQI_VALUE_TEXT])
{
    const struct value_unit *unit = value_units(opt);

    if ((opt->type != NQT_OPT_SIZE && opt->type != NQT_OPT_DURATION) || num <= 0) {
        snprintf(out, NQI_VALUE_TEXT, "%" PRId64, num);
        return out;
    }
    while (num % unit->factor)
        unit++;
    snprintf(out, NQI_VALUE_TEXT, "%" PRId64 "%s", num / unit->factor, unit->name);
    return out;
}

bool nqi_value_range(const struct nqt_opt *opt, int64_t *min, int64_t *max)
{
    bool counted = opt->type == NQT_OPT_SIZE || opt->type == NQT_OPT_DURATION;

    if (!counted && (opt->type != NQT_OPT_INT || (!opt->min && !opt->max)))
        return false;
    *min = counted && opt->min < 0 ? 0 : opt->min;
    *max = counted && !opt->max ? INT64_MAX : opt->max;
    return true;
}

uint32_t nqi_value_words(const struct nqt_opt *opt)
{
    uint32_t words = opt->flags & (NQI_OPT_UNLIMITED | NQI_OPT_AUTO | NQI_OPT_OFF);

    if (opt->type != NQT_OPT_INT && opt->type != NQT_OPT_SIZE && opt->type != NQT_OPT_DURATION)
        return 0;
    return opt->min == -1 ? words | NQI_OPT_UNLIMITED : words;
}

char *nqi_value_range_text(const struct nqt_opt *opt, char out[NQI_VALUE_TEXT])
{
    char low[NQI_VALUE_TEXT], high[NQI_VALUE_TEXT];
    int64_t min = 0, max = 0;
    int len = 0;

    out[0] = '\0';
    if (!nqi_value_range(opt, &min, &max))
        return out;
    for (size_t i = 0; i < NQI_LEN(value_word_list); i++)
        if (nqi_value_words(opt) & value_word_list[i].flag)
            len += snprintf(out + len, (size_t)(NQI_VALUE_TEXT - len), "\"%s\" or ",
                            value_word_list[i].text);
    nqi_value_number_text(opt, min, low);
    nqi_value_number_text(opt, max, high);
    if (max == INT64_MAX)
        snprintf(out + len, (size_t)(NQI_VALUE_TEXT - len), "%.24s or more", low);
    else
        snprintf(out + len, (size_t)(NQI_VALUE_TEXT - len), "%.24s to %.24s", low, high);
    return out;
}

/* The callback of json_dump_callback(): fills the buffer and drops what does not fit. */
struct value_line {
    char *at;
    size_t left;
};

static int value_line_add(const char *text, size_t len, void *arg)
{
    struct value_line *line = arg;
    size_t n = NQI_MIN(len, line->left);

    memcpy(line->at, text, n);
    line->at += n;
    line->left -= n;
    return 0;
}

char *nqi_value_show(const json_t *json, char *out, size_t cap)
{
    struct value_line line = {.at = out, .left = cap - 1};

    if (json_is_object(json) || json_is_array(json)) {
        snprintf(out, cap, "%s", json_is_object(json) ? "an object" : "an array");
        return out;
    }
    if (json_dump_callback(json, value_line_add, &line, JSON_ENCODE_ANY | JSON_ENSURE_ASCII))
        line = (struct value_line){.at = out, .left = cap - 1};
    *line.at = '\0';
    if (!line.left && cap > 4)
        memcpy(line.at - 3, "...", 3);
    return out;
}

/* ", not VALUE" unless the value is a secret. */
static const char *value_not(const struct nqt_opt *opt, const json_t *json, char out[96])
{
    char shown[80];

    out[0] = '\0';
    if (!(opt->flags & NQT_OPT_SECRET))
        snprintf(out, 96, ", not %s", nqi_value_show(json, shown, sizeof(shown)));
    return out;
}

/* ---- numbers ---------------------------------------------------------------------------- */

enum value_parsed { VALUE_FINE, VALUE_MALFORMED, VALUE_OVERFLOW };

static bool value_digits(const char **at, int64_t *ret, bool *overflow)
{
    const char *from = *at;
    int64_t num = 0;

    for (; **at >= '0' && **at <= '9'; (*at)++)
        if (__builtin_mul_overflow(num, 10, &num) || __builtin_add_overflow(num, **at - '0', &num))
            *overflow = true;
    *ret = num;
    return *at != from;
}

/* "64MiB", "64 MiB"; a number without a unit counts bytes, but no time except 0 goes without
 * one: nobody means 30 nanoseconds with 30. */
static enum value_parsed value_parse(const struct nqt_opt *opt, const char *text, int64_t *ret)
{
    const struct value_unit *unit = value_units(opt);
    bool overflow = false;
    int64_t num;

    if (!value_digits(&text, &num, &overflow))
        return VALUE_MALFORMED;
    if (!*text && (opt->type == NQT_OPT_SIZE || (!num && !overflow))) {
        *ret = num;
        return overflow ? VALUE_OVERFLOW : VALUE_FINE;
    }
    if (*text == ' ')
        text++;
    while (unit->name && strcmp(unit->name, text) != 0)
        unit++;
    if (!unit->name)
        return VALUE_MALFORMED;
    if (overflow || __builtin_mul_overflow(num, unit->factor, ret))
        return VALUE_OVERFLOW;
    return VALUE_FINE;
}

static bool value_word(const struct nqt_opt *opt, const json_t *json, int64_t *ret)
{
    uint32_t words = nqi_value_words(opt);

    for (size_t i = 0; i < NQI_LEN(value_word_list); i++) {
        if (!(words & value_word_list[i].flag))
            continue;
        if (json_is_string(json) ? strcmp(json_string_value(json), value_word_list[i].text) != 0
                                 : json_integer_value(json) != value_word_list[i].num ||
                                       value_word_list[i].flag == NQI_OPT_AUTO)
            continue;
        *ret = value_word_list[i].num;
        return true;
    }
    return false;
}

static const char *value_expect(const struct nqt_opt *opt)
{
    if (opt->type == NQT_OPT_INT)
        return "a whole number";
    if (opt->type == NQT_OPT_SIZE)
        return "a size, bytes or text like \"64KiB\", \"16MiB\", \"1GiB\"";
    return "a time with its unit, like \"500ms\", \"30s\", \"5min\"";
}

static nq_err value_no_number(const struct nqt_opt *opt, const json_t *json, char why[NQI_WHY])
{
    char range[NQI_VALUE_TEXT], seen[96];

    nqi_value_range_text(opt, range);
    return value_refuse(why, "must be %s%s%s%s", value_expect(opt), *range ? ": " : "", range,
                        value_not(opt, json, seen));
}

static nq_err value_read_number(const struct nqt_opt *opt, const json_t *json, int64_t *ret,
                                char why[NQI_WHY])
{
    enum value_parsed parsed = VALUE_MALFORMED;
    int64_t num = 0, min = 0, max = 0;
    char range[NQI_VALUE_TEXT], seen[96];

    if ((json_is_string(json) || json_is_integer(json)) && value_word(opt, json, ret))
        return NQ_OK;
    if (json_is_string(json) && opt->type != NQT_OPT_INT)
        parsed = value_parse(opt, json_string_value(json), &num);
    if (json_is_integer(json)) {
        num = json_integer_value(json);
        parsed = opt->type == NQT_OPT_DURATION && num ? VALUE_MALFORMED : VALUE_FINE;
    }
    if (parsed == VALUE_MALFORMED)
        return value_no_number(opt, json, why);
    if (parsed == VALUE_OVERFLOW || (nqi_value_range(opt, &min, &max) && (num < min || num > max)))
        return value_refuse(why, "must be %s%s", nqi_value_range_text(opt, range),
                            value_not(opt, json, seen));
    *ret = num;
    return NQ_OK;
}

/* ---- texts ------------------------------------------------------------------------------ */

static nq_err value_read_choice(const struct nqt_opt *opt, const json_t *json,
                                struct nqi_value *value, char why[NQI_WHY])
{
    struct nqi_near near = {.text = json_is_string(json) ? json_string_value(json) : ""};
    char list[256], seen[96];
    size_t len = 0;

    for (int i = 0; opt->choices[i]; i++) {
        if (strcmp(opt->choices[i], near.text) == 0) {
            value->num = i;
            value->str = strdup(near.text);
            return value->str ? NQ_OK : NQ_ERR_NOMEM;
        }
        nqi_near_try(&near, opt->choices[i]);
        if (len < sizeof(list))
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s\"%s\"", i ? ", " : "",
                                    opt->choices[i]);
    }
    if (json_is_string(json) && near.best)
        return value_refuse(why, "must be one of %s%s; the nearest is \"%s\"", list,
                            value_not(opt, json, seen), near.best);
    return value_refuse(why, "must be one of %s%s", list, value_not(opt, json, seen));
}

static nq_err value_read_path(const struct nqt_opt *opt, const json_t *json, const char *folder,
                              struct nqi_value *value, char why[NQI_WHY])
{
    const char *path = json_string_value(json);
    size_t len;
    char seen[96];

    if (!path || !*path)
        return value_refuse(why, "must be a path%s", value_not(opt, json, seen));
    len = strlen(folder) + strlen(path) + 2;
    value->str = malloc(len);
    if (!value->str)
        return NQ_ERR_NOMEM;
    if (*path == '/')
        snprintf(value->str, len, "%s", path);
    else
        snprintf(value->str, len, "%s%s%s", folder, strcmp(folder, "/") == 0 ? "" : "/", path);
    return NQ_OK;
}

static nq_err value_read_text(const struct nqt_opt *opt, const json_t *json,
                              struct nqi_value *value, char why[NQI_WHY])
{
    char seen[96];

    if (!json_is_string(json))
        return value_refuse(why, "must be text in quotes%s", value_not(opt, json, seen));
    value->str = strdup(json_string_value(json));
    return value->str ? NQ_OK : NQ_ERR_NOMEM;
}

static nq_err value_read_list(const struct nqt_opt *opt, const json_t *json,
                              struct nqi_value *value, char why[NQI_WHY])
{
    bool absolute = opt->flags & NQI_OPT_ABSOLUTE;
    size_t count = json_array_size(json);
    const json_t *item;
    char seen[96];

    if (!json_is_array(json) || count > NQI_LIST_CAP)
        return value_refuse(why, "must be an array of at most %d %s", NQI_LIST_CAP,
                            absolute ? "absolute directories" : "texts");
    value->list = calloc(count + 1, sizeof(*value->list));
    if (!value->list)
        return NQ_ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        item = json_array_get(json, i);
        if (!json_is_string(item) || (absolute && *json_string_value(item) != '/'))
            return value_refuse(why, "entry %zu must be %s%s", i,
                                absolute ? "an absolute path" : "text in quotes",
                                value_not(opt, item, seen));
        value->list[i] = strdup(json_string_value(item));
        if (!value->list[i])
            return NQ_ERR_NOMEM;
        value->count++;
    }
    return NQ_OK;
}

/* ---- one value -------------------------------------------------------------------------- */

static nq_err value_read_any(const struct nqt_opt *opt, const json_t *json, const char *folder,
                             struct nqi_value *value, char why[NQI_WHY])
{
    char seen[96];

    switch (opt->type) {
    case NQT_OPT_BOOL:
        value->num = json_is_true(json);
        if (json_is_boolean(json))
            return NQ_OK;
        return value_refuse(why, "must be true or false%s", value_not(opt, json, seen));
    case NQT_OPT_INT:
    case NQT_OPT_SIZE:
    case NQT_OPT_DURATION:
        return value_read_number(opt, json, &value->num, why);
    case NQT_OPT_ENUM:
        return value_read_choice(opt, json, value, why);
    case NQT_OPT_PATH:
        return value_read_path(opt, json, folder, value, why);
    case NQT_OPT_LIST:
        return value_read_list(opt, json, value, why);
    default:
        return value_read_text(opt, json, value, why);
    }
}

nq_err nqi_value_read(const struct nqt_opt *opt, const json_t *json, const char *folder,
                      struct nqi_value *ret, char why[NQI_WHY])
{
    NQI_CLEANUP(nqi_value_fini) struct nqi_value value = {0};
    nq_err err = value_read_any(opt, json, folder, &value, why);

    if (err)
        return err;
    value.set = true;
    *ret = value;
    value = (struct nqi_value){0};
    return NQ_OK;
}

/* "a,b" as an array. */
static json_t *value_default_list(const char *def)
{
    json_t *array = json_array();
    size_t len;

    for (; array && *def; def += len + (def[len] == ',')) {
        len = strcspn(def, ",");
        if (json_array_append_new(array, json_stringn(def, len))) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *nqi_value_default_json(const struct nqt_opt *opt)
{
    long long num;
    char *end;

    if (!opt->def)
        return NULL;
    if (opt->type == NQT_OPT_LIST)
        return value_default_list(opt->def);
    if (opt->type == NQT_OPT_BOOL && strcmp(opt->def, "true") == 0)
        return json_true();
    if (opt->type == NQT_OPT_BOOL && strcmp(opt->def, "false") == 0)
        return json_false();
    num = strtoll(opt->def, &end, 10);
    if (opt->type == NQT_OPT_INT && *opt->def && !*end)
        return json_integer(num);
    return json_string(opt->def);
}

static bool value_is_utf8(const char *text)
{
    return nqi_utf8_is((const uint8_t *)text, (const uint8_t *)text + strlen(text));
}

static void value_decref(json_t **json)
{
    json_decref(*json);
}

nq_err nqi_value_default(const struct nqt_opt *opt, const char *folder, struct nqi_value *ret,
                         char why[NQI_WHY])
{
    NQI_CLEANUP(value_decref) json_t *json = NULL;

    if (!opt->def) {
        *ret = (struct nqi_value){0};
        return NQ_OK;
    }
    json = nqi_value_default_json(opt);
    if (!json)
        return value_is_utf8(opt->def) ? NQ_ERR_NOMEM : value_refuse(why, "must be UTF-8");
    return nqi_value_read(opt, json, folder, ret, why);
}

void nqi_value_fini(struct nqi_value *value)
{
    free(value->str);
    for (size_t i = 0; value->list && value->list[i]; i++)
        free(value->list[i]);
    free(value->list);
    *value = (struct nqi_value){0};
}

bool nqi_value_equal(const struct nqi_value *a, const struct nqi_value *b)
{
    if (a->set != b->set || a->num != b->num || a->count != b->count || !a->str != !b->str)
        return false;
    if (a->str && strcmp(a->str, b->str) != 0)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->list[i], b->list[i]) != 0)
            return false;
    return true;
}

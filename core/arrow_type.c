/* Formats of the Arrow C Data Interface, from two tables: those that are one text, and those that
 * go on behind a colon. */
#include "core/arrow_type.h"

#include "core/err.h"
#include <string.h>

#define TYPE_WIDTH_MAX 0x7fffffffu /* as Arrow has it: a positive 32-bit integer */

struct type_word {
    const char *format;
    struct nqi_arrow_type type;
};

#define INTEGER(bytes, has_sign)                                                     \
    {                                                                                \
        .kind = NQI_ARROW_FIXED, .width = (bytes), .index = true, .sign = (has_sign) \
    }
#define VALUE(bytes)                              \
    {                                             \
        .kind = NQI_ARROW_FIXED, .width = (bytes) \
    }
#define TEXT(bytes, is_utf8)                                          \
    {                                                                 \
        .kind = NQI_ARROW_BINARY, .width = (bytes), .utf8 = (is_utf8) \
    }

static const struct type_word type_words[] = {
    {"n", {.kind = NQI_ARROW_NULL}},
    {"b", {.kind = NQI_ARROW_BITS}},
    {"c", INTEGER(1, true)},
    {"C", INTEGER(1, false)},
    {"s", INTEGER(2, true)},
    {"S", INTEGER(2, false)},
    {"i", INTEGER(4, true)},
    {"I", INTEGER(4, false)},
    {"l", INTEGER(8, true)},
    {"L", INTEGER(8, false)},
    {"e", VALUE(2)},
    {"f", VALUE(4)},
    {"g", VALUE(8)},
    {"z", TEXT(4, false)},
    {"Z", TEXT(8, false)},
    {"u", TEXT(4, true)},
    {"U", TEXT(8, true)},
    {"tdD", VALUE(4)},
    {"tdm", VALUE(8)},
    {"tts", VALUE(4)},
    {"ttm", VALUE(4)},
    {"ttu", VALUE(8)},
    {"ttn", VALUE(8)},
    {"tDs", VALUE(8)},
    {"tDm", VALUE(8)},
    {"tDu", VALUE(8)},
    {"tDn", VALUE(8)},
    {"tiM", VALUE(4)},
    {"tiD", VALUE(8)},
    {"tin", VALUE(16)},
    {"+l", {.kind = NQI_ARROW_LIST, .width = 4}},
    {"+L", {.kind = NQI_ARROW_LIST, .width = 8}},
    {"+m", {.kind = NQI_ARROW_LIST, .width = 4, .map = true}},
    {"+s", {.kind = NQI_ARROW_STRUCT}},
};

/* What Arrow has and this does not carry; by how they begin. */
static const char *const type_refused[] = {"vu", "vz", "+vl", "+vL", "+ud:", "+us:", "+r"};

/* A decimal number without a sign, up to `stop` or the end.  @return behind it; NULL = there is
 * none */
static const char *type_number(const char *at, uint32_t *ret)
{
    const char *start = at;
    uint64_t value = 0;

    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint64_t)(*at - '0');
        if (value > TYPE_WIDTH_MAX)
            return NULL;
    }
    *ret = (uint32_t)value;
    return at == start ? NULL : at;
}

static bool type_sized(const char *text, enum nqi_arrow_kind kind, struct nqi_arrow_type *ret)
{
    uint32_t width;
    const char *end = type_number(text, &width);

    if (!end || *end)
        return false;
    *ret = (struct nqi_arrow_type){.kind = kind, .width = width};
    return true;
}

/* "precision,scale" and perhaps ",bits"; the scale may be negative. */
static bool type_decimal(const char *text, struct nqi_arrow_type *ret)
{
    uint32_t number, bits = 128;
    const char *at = type_number(text, &number);

    if (!at || *at++ != ',')
        return false;
    at = type_number(at + (*at == '-'), &number);
    if (at && *at == ',')
        at = type_number(at + 1, &bits);
    if (!at || *at || (bits != 32 && bits != 64 && bits != 128 && bits != 256))
        return false;
    *ret = (struct nqi_arrow_type)VALUE(bits / 8);
    return true;
}

static bool type_begins(const char *format, const char *prefix)
{
    return strncmp(format, prefix, strlen(prefix)) == 0;
}

/* "tss:", and then a time zone of any text. */
static bool type_is_timestamp(const char *format)
{
    return type_begins(format, "ts") && format[2] && strchr("smun", format[2]) && format[3] == ':';
}

static bool type_prefixed(const char *format, struct nqi_arrow_type *ret)
{
    if (type_begins(format, "w:"))
        return type_sized(format + 2, NQI_ARROW_FIXED, ret);
    if (type_begins(format, "+w:"))
        return type_sized(format + 3, NQI_ARROW_ROWS, ret);
    if (type_begins(format, "d:"))
        return type_decimal(format + 2, ret);
    if (!type_is_timestamp(format))
        return false;
    *ret = (struct nqi_arrow_type)VALUE(8);
    return true;
}

nq_err nqi_arrow_type_read(const char *format, nq_err blame, struct nqi_arrow_type *ret)
{
    for (size_t i = 0; i < NQI_LEN(type_words); i++)
        if (strcmp(format, type_words[i].format) == 0) {
            *ret = type_words[i].type;
            return NQ_OK;
        }
    if (type_prefixed(format, ret))
        return NQ_OK;
    for (size_t i = 0; i < NQI_LEN(type_refused); i++)
        if (type_begins(format, type_refused[i]))
            return nqi_fail(NQ_ERR_UNSUPPORTED, "arrays of format \"%.16s\" do not travel", format);
    return nqi_fail(blame, "no format of Arrow: \"%.16s\"", format);
}

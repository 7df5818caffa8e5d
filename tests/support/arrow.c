#include "tests/support/arrow.h"
#include <check.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic unsigned alive;

unsigned nqtest_arrow_alive(void)
{
    return alive;
}

static void *arrow_alloc(size_t len)
{
    void *data = malloc(len ? len : 1);

    ck_assert_ptr_nonnull(data);
    return data;
}

/* ---- schemas ---- */

static void schema_release(struct ArrowSchema *schema)
{
    ck_assert_ptr_eq(schema->release, schema_release);
    for (int64_t i = 0; i < schema->n_children; i++)
        nqtest_schema_free(schema->children[i]);
    if (schema->dictionary)
        nqtest_schema_free(schema->dictionary);
    free(schema->children);
    free((void *)(uintptr_t)schema->format);
    schema->release = NULL;
    alive--;
}

void nqtest_schema_free(struct ArrowSchema *schema)
{
    if (schema->release)
        schema->release(schema);
    free(schema);
}

static struct ArrowSchema *schema_new(const char *format)
{
    struct ArrowSchema *schema = arrow_alloc(sizeof(*schema));
    char *text = arrow_alloc(strlen(format) + 1);

    strcpy(text, format);
    *schema = (struct ArrowSchema){
        .format = text, .name = text, .flags = ARROW_FLAG_NULLABLE, .release = schema_release};
    alive++;
    return schema;
}

struct ArrowSchema *nqtest_schema(const char *format, unsigned n, ...)
{
    struct ArrowSchema *schema = schema_new(format);
    va_list args;

    schema->n_children = n;
    schema->children = arrow_alloc(n * sizeof(*schema->children));
    va_start(args, n);
    for (unsigned i = 0; i < n; i++)
        schema->children[i] = va_arg(args, struct ArrowSchema *);
    va_end(args);
    return schema;
}

struct ArrowSchema *nqtest_schema_dictionary(const char *format, struct ArrowSchema *dictionary)
{
    struct ArrowSchema *schema = schema_new(format);

    schema->dictionary = dictionary;
    schema->flags |= ARROW_FLAG_DICTIONARY_ORDERED;
    return schema;
}

/* ---- what the specification says of the types ---- */

static const struct {
    const char *format;
    unsigned width;
} widths[] = {{"c", 1},           {"C", 1},          {"s", 2},
              {"S", 2},           {"i", 4},          {"I", 4},
              {"l", 8},           {"L", 8},          {"e", 2},
              {"f", 4},           {"g", 8},          {"d:19,10", 16},
              {"d:9,2,32", 4},    {"d:18,-3,64", 8}, {"d:38,4,128", 16},
              {"d:76,0,256", 32}, {"w:7", 7},        {"w:0", 0},
              {"tdD", 4},         {"tdm", 8},        {"tts", 4},
              {"ttm", 4},         {"ttu", 8},        {"ttn", 8},
              {"tss:", 8},        {"tsm:UTC", 8},    {"tsu:Europe/Berlin", 8},
              {"tsn:", 8},        {"tDs", 8},        {"tDm", 8},
              {"tDu", 8},         {"tDn", 8},        {"tiM", 4},
              {"tiD", 8},         {"tin", 16}};

#define NWIDTHS (sizeof(widths) / sizeof(widths[0]))

/* Bytes of a value; -1 = its values have no fixed width. */
static int width_of(const char *format)
{
    for (size_t i = 0; i < NWIDTHS; i++)
        if (strcmp(widths[i].format, format) == 0)
            return (int)widths[i].width;
    return -1;
}

static bool is_text(const char *format)
{
    return strchr("zZuU", format[0]) && !format[1];
}

static bool is_list(const char *format)
{
    return format[0] == '+' && strchr("lLm", format[1]);
}

static size_t offset_width(const char *format)
{
    return strcmp(format, "Z") == 0 || strcmp(format, "U") == 0 || strcmp(format, "+L") == 0 ? 8
                                                                                             : 4;
}

static unsigned rows_of(const char *format) /* "+w:3" */
{
    return (unsigned)strtoul(format + 3, NULL, 10);
}

static int64_t offset_at(const void *offsets, size_t width, int64_t i)
{
    return width == 4 ? ((const int32_t *)offsets)[i] : ((const int64_t *)offsets)[i];
}

/* ---- arrays ---- */

struct maker {
    enum nqtest_rows rows;
    uint64_t random;
};

static uint64_t maker_below(struct maker *maker, uint64_t n)
{
    maker->random ^= maker->random << 13;
    maker->random ^= maker->random >> 7;
    maker->random ^= maker->random << 17;
    return maker->random % n;
}

static void array_release(struct ArrowArray *array)
{
    ck_assert_ptr_eq(array->release, array_release);
    for (int64_t i = 0; i < array->n_buffers; i++)
        free((void *)(uintptr_t)array->buffers[i]);
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    if (array->dictionary) {
        array->dictionary->release(array->dictionary);
        free(array->dictionary);
    }
    free(array->children);
    free(array->buffers);
    array->release = NULL;
    alive--;
}

static uint8_t *array_noise(struct maker *maker, size_t len)
{
    uint8_t *data = arrow_alloc(len);

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)maker_below(maker, 256);
    return data;
}

/* Characters of one to four bytes; any place but the first of one is inside. */
static uint8_t *array_text(struct maker *maker, const int64_t *ends, int64_t n, size_t len)
{
    static const char *const words[] = {"a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x8e"};
    uint8_t *data = arrow_alloc(len);
    int64_t at = 0;

    memset(data, 'x', len);
    for (int64_t i = 0; i < n; at = ends[i++])
        for (int64_t left = ends[i] - at; left > 0;) {
            const char *word = words[maker_below(maker, 4)];
            int64_t size = (int64_t)strlen(word);

            if (size > left)
                word = words[0], size = 1;
            memcpy(data + ends[i] - left, word, (size_t)size);
            left -= size;
        }
    return data;
}

/* `n` + 1 offsets, the ends of the items also in `ends`. */
static void *array_offsets(struct maker *maker, int64_t n, size_t width, int64_t *ends)
{
    void *offsets = arrow_alloc((size_t)(n + 1) * width);
    int64_t at = maker->rows == NQTEST_ROWS_SLICED ? (int64_t)maker_below(maker, 5) : 0;

    for (int64_t i = 0; i <= n; i++) {
        if (width == 4)
            ((int32_t *)offsets)[i] = (int32_t)at;
        else
            ((int64_t *)offsets)[i] = at;
        ends[i] = at;
        at += (int64_t)maker_below(maker, 7);
    }
    return offsets;
}

static struct ArrowArray *array_child(const struct ArrowSchema *schema, int64_t length,
                                      struct maker *maker)
{
    struct ArrowArray *child = arrow_alloc(sizeof(*child));

    nqtest_array(schema, length, maker->rows, maker_below(maker, UINT64_MAX), child);
    return child;
}

static void array_nulls(struct maker *maker, int64_t physical, struct ArrowArray *ret)
{
    uint8_t *bits;

    if (maker->rows == NQTEST_ROWS_PLAIN || maker_below(maker, 4) == 0)
        return;
    bits = array_noise(maker, (size_t)(physical + 7) / 8);
    ret->buffers[0] = bits;
    ret->null_count = -1;
    if (maker_below(maker, 2))
        return;
    ret->null_count = 0;
    for (int64_t i = ret->offset; i < physical; i++)
        ret->null_count += !(bits[i / 8] >> i % 8 & 1);
}

/* Indices below `limit`; 0 = there is nothing to point to, and no row. */
static void *array_indices(struct maker *maker, int64_t n, size_t width, uint64_t limit)
{
    uint8_t *data = arrow_alloc((size_t)n * width);

    memset(data, 0, (size_t)n * width);
    for (int64_t i = 0; i < n; i++)
        data[(size_t)i * width] = (uint8_t)maker_below(maker, limit);
    return data;
}

static void array_fill(const struct ArrowSchema *schema, int64_t physical, struct maker *maker,
                       struct ArrowArray *ret)
{
    const char *format = schema->format;
    int64_t *ends = arrow_alloc((size_t)(physical + 1) * sizeof(*ends)), below = physical;

    if (schema->dictionary) {
        ret->dictionary =
            array_child(schema->dictionary, 1 + (int64_t)maker_below(maker, 99), maker);
        ret->buffers[1] = array_indices(maker, physical, (size_t)width_of(format),
                                        (uint64_t)ret->dictionary->length);
    } else if (width_of(format) >= 0) {
        ret->buffers[1] = array_noise(maker, (size_t)physical * (size_t)width_of(format));
    } else if (strcmp(format, "b") == 0) {
        ret->buffers[1] = array_noise(maker, (size_t)(physical + 7) / 8);
    } else if (is_text(format) || is_list(format)) {
        ret->buffers[1] = array_offsets(maker, physical, offset_width(format), ends);
        below = ends[physical];
    } else if (format[0] == '+' && format[1] == 'w') {
        below = physical * rows_of(format);
    }
    if (is_text(format))
        ret->buffers[2] = array_text(maker, ends, physical + 1, (size_t)below);
    for (int64_t i = 0; i < schema->n_children; i++)
        ret->children[i] = array_child(schema->children[i], below, maker);
    free(ends);
}

static int64_t buffers_of(const char *format)
{
    if (strcmp(format, "n") == 0)
        return 0;
    if (is_text(format))
        return 3;
    return format[0] == '+' && !is_list(format) ? 1 : 2;
}

void nqtest_array(const struct ArrowSchema *schema, int64_t length, enum nqtest_rows rows,
                  uint64_t seed, struct ArrowArray *ret)
{
    struct maker maker = {rows, seed * UINT64_C(0x9e3779b97f4a7c15) | 1};
    int64_t more = 0;

    *ret = (struct ArrowArray){.length = length,
                               .n_buffers = buffers_of(schema->format),
                               .n_children = schema->n_children,
                               .release = array_release};
    alive++;
    if (rows == NQTEST_ROWS_SLICED) {
        ret->offset = (int64_t)maker_below(&maker, 20);
        more = (int64_t)maker_below(&maker, 3);
    }
    ret->buffers = arrow_alloc(3 * sizeof(*ret->buffers));
    memset(ret->buffers, 0, 3 * sizeof(*ret->buffers));
    ret->children = arrow_alloc((size_t)ret->n_children * sizeof(*ret->children));
    if (ret->n_buffers)
        array_nulls(&maker, ret->offset + length, ret);
    else
        ret->null_count = length;
    array_fill(schema, ret->offset + length + more, &maker, ret);
}

/* ---- comparing ---- */

static bool row_is_valid(const struct ArrowArray *array, int64_t row)
{
    const uint8_t *bits = array->n_buffers ? array->buffers[0] : NULL;

    row += array->offset;
    return !bits || bits[row / 8] >> row % 8 & 1;
}

static void same_row(const struct ArrowSchema *schema, const struct ArrowArray *want, int64_t wi,
                     const struct ArrowArray *got, int64_t gi);

static void same_items(const struct ArrowSchema *schema, const struct ArrowArray *want, int64_t wi,
                       const struct ArrowArray *got, int64_t gi, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        same_row(schema, want, wi + i, got, gi + i);
}

static void same_span(const struct ArrowSchema *schema, const struct ArrowArray *want, int64_t wp,
                      const struct ArrowArray *got, int64_t gp)
{
    size_t width = offset_width(schema->format);
    int64_t wat = offset_at(want->buffers[1], width, wp),
            gat = offset_at(got->buffers[1], width, gp);
    int64_t len = offset_at(want->buffers[1], width, wp + 1) - wat;

    ck_assert_int_eq(offset_at(got->buffers[1], width, gp + 1) - gat, len);
    if (is_list(schema->format))
        same_items(schema->children[0], want->children[0], wat, got->children[0], gat, len);
    else if (len)
        ck_assert_mem_eq((const char *)want->buffers[2] + wat, (const char *)got->buffers[2] + gat,
                         (size_t)len);
}

static int64_t index_at(const struct ArrowArray *array, size_t width, int64_t at)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)array->buffers[1] + (size_t)at * width, width);
    return (int64_t)value;
}

static void same_values(const struct ArrowSchema *schema, const struct ArrowArray *want, int64_t wp,
                        const struct ArrowArray *got, int64_t gp)
{
    const char *format = schema->format;
    int width = width_of(format);

    if (schema->dictionary) {
        same_row(schema->dictionary, want->dictionary, index_at(want, (size_t)width, wp),
                 got->dictionary, index_at(got, (size_t)width, gp));
    } else if (width > 0) {
        ck_assert_mem_eq((const char *)want->buffers[1] + wp * width,
                         (const char *)got->buffers[1] + gp * width, (size_t)width);
    } else if (strcmp(format, "b") == 0) {
        ck_assert_int_eq(((const uint8_t *)want->buffers[1])[wp / 8] >> wp % 8 & 1,
                         ((const uint8_t *)got->buffers[1])[gp / 8] >> gp % 8 & 1);
    } else if (is_text(format) || is_list(format)) {
        same_span(schema, want, wp, got, gp);
    } else if (strcmp(format, "+s") == 0) {
        for (int64_t i = 0; i < schema->n_children; i++)
            same_row(schema->children[i], want->children[i], wp, got->children[i], gp);
    } else if (format[0] == '+') {
        int64_t n = rows_of(format);

        same_items(schema->children[0], want->children[0], wp * n, got->children[0], gp * n, n);
    }
}

static void same_row(const struct ArrowSchema *schema, const struct ArrowArray *want, int64_t wi,
                     const struct ArrowArray *got, int64_t gi)
{
    ck_assert_int_lt(gi, got->length);
    ck_assert_int_eq(row_is_valid(want, wi), row_is_valid(got, gi));
    if (row_is_valid(want, wi))
        same_values(schema, want, want->offset + wi, got, got->offset + gi);
}

/* Every node of what arrived. */
static void check_node(const struct ArrowSchema *schema, const struct ArrowArray *got)
{
    int64_t nulls = 0;

    ck_assert_ptr_nonnull(got->release);
    ck_assert_int_eq(got->offset, 0);
    ck_assert_int_eq(got->n_buffers, buffers_of(schema->format));
    ck_assert_int_eq(got->n_children, schema->n_children);
    for (int64_t i = 0; i < got->n_buffers; i++) {
        ck_assert(i == 0 || got->buffers[i]);
        ck_assert_uint_eq((uintptr_t)got->buffers[i] % 64, 0);
    }
    for (int64_t i = 0; got->n_buffers && i < got->length; i++)
        nulls += !row_is_valid(got, i);
    ck_assert_int_eq(got->null_count, got->n_buffers ? nulls : got->length);
    for (int64_t i = 0; i < got->n_children; i++)
        check_node(schema->children[i], got->children[i]);
    if (schema->dictionary)
        check_node(schema->dictionary, got->dictionary);
}

void nqtest_same_rows(const struct ArrowSchema *schema, const struct ArrowArray *want,
                      const struct ArrowArray *got)
{
    check_node(schema, got);
    ck_assert_int_eq(got->length, want->length);
    same_items(schema, want, 0, got, 0, want->length);
}

static size_t metadata_len(const char *metadata)
{
    const char *at = metadata;
    int32_t pairs, len;

    if (!metadata)
        return 0;
    memcpy(&pairs, at, 4);
    at += 4;
    for (int32_t i = 0; i < pairs * 2; i++) {
        memcpy(&len, at, 4);
        at += 4 + len;
    }
    return (size_t)(at - metadata);
}

void nqtest_same_schema(const struct ArrowSchema *want, const struct ArrowSchema *got)
{
    ck_assert_str_eq(got->format, want->format);
    ck_assert_str_eq(got->name, want->name ? want->name : "");
    ck_assert_int_eq(got->flags, want->flags);
    ck_assert_int_eq(got->n_children, want->n_children);
    ck_assert_int_eq(!got->metadata, !want->metadata);
    ck_assert_uint_eq(metadata_len(got->metadata), metadata_len(want->metadata));
    if (want->metadata)
        ck_assert_mem_eq(got->metadata, want->metadata, metadata_len(want->metadata));
    for (int64_t i = 0; i < want->n_children; i++)
        nqtest_same_schema(want->children[i], got->children[i]);
    ck_assert_int_eq(!got->dictionary, !want->dictionary);
    if (want->dictionary)
        nqtest_same_schema(want->dictionary, got->dictionary);
}

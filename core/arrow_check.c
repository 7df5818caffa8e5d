/* The checks of arrow_check.h: plain loops over one buffer, without a branch where most of the time
 * goes. */
#include "core/arrow_check.h"
#include "core/utf8.h"

#include <string.h>

static bool check_is_valid(const uint8_t *valid, uint64_t row)
{
    return !valid || valid[row / 8] >> row % 8 & 1;
}

/* ---- bits ------------------------------------------------------------------------------- */

uint64_t nqi_arrow_count_nulls(const uint8_t *valid, uint64_t len)
{
    uint64_t ones = 0, word, i = 0;

    if (!valid)
        return 0;
    for (; i + 64 <= len; i += 64) {
        memcpy(&word, valid + i / 8, sizeof(word));
        ones += (uint64_t)__builtin_popcountll(word);
    }
    for (; i < len; i++)
        ones += check_is_valid(valid, i);
    return len - ones;
}

/* ---- offsets ---------------------------------------------------------------------------- */

#define CHECK_RISE(name, type)                                                \
    static bool name(const type *offsets, uint64_t rows, uint64_t *last)      \
    {                                                                         \
        type before = offsets[0];                                             \
        bool good = before == 0;                                              \
                                                                              \
        for (uint64_t i = 1; i <= rows; i++) {                                \
            type now = offsets[i]; /* once: what is checked is what counts */ \
                                                                              \
            good &= now >= before;                                            \
            before = now;                                                     \
        }                                                                     \
        *last = (uint64_t)before;                                             \
        return good;                                                          \
    }

CHECK_RISE(check_rise_32, int32_t)
CHECK_RISE(check_rise_64, int64_t)

bool nqi_arrow_offsets_rise(const void *offsets, uint32_t width, uint64_t rows, uint64_t *last)
{
    return width == 4 ? check_rise_32(offsets, rows, last) : check_rise_64(offsets, rows, last);
}

/* Reads it once, whatever the compiler thinks of that.  A negative one becomes a large one. */
static uint64_t check_offset(const void *offsets, uint32_t width, uint64_t i)
{
    return width == 4 ? (uint64_t)__atomic_load_n((const int32_t *)offsets + i, __ATOMIC_RELAXED)
                      : (uint64_t)__atomic_load_n((const int64_t *)offsets + i, __ATOMIC_RELAXED);
}

/* ---- indices ---------------------------------------------------------------------------- */

/* A negative one becomes a large one. */
#define CHECK_FIT(name, type)                                                               \
    static bool name(const type *data, const uint8_t *valid, uint64_t rows, uint64_t limit) \
    {                                                                                       \
        for (uint64_t i = 0; i < rows; i++)                                                 \
            if (NQI_UNLIKELY((uint64_t)data[i] >= limit) && check_is_valid(valid, i))       \
                return false;                                                               \
        return true;                                                                        \
    }

CHECK_FIT(check_fit_s8, int8_t)
CHECK_FIT(check_fit_u8, uint8_t)
CHECK_FIT(check_fit_s16, int16_t)
CHECK_FIT(check_fit_u16, uint16_t)
CHECK_FIT(check_fit_s32, int32_t)
CHECK_FIT(check_fit_u32, uint32_t)
CHECK_FIT(check_fit_s64, int64_t)
CHECK_FIT(check_fit_u64, uint64_t)

bool nqi_arrow_indices_fit(const struct nqi_arrow_type *type, const void *data,
                           const uint8_t *valid, uint64_t rows, uint64_t limit)
{
    switch (type->width) {
    case 1:
        return type->sign ? check_fit_s8(data, valid, rows, limit)
                          : check_fit_u8(data, valid, rows, limit);
    case 2:
        return type->sign ? check_fit_s16(data, valid, rows, limit)
                          : check_fit_u16(data, valid, rows, limit);
    case 4:
        return type->sign ? check_fit_s32(data, valid, rows, limit)
                          : check_fit_u32(data, valid, rows, limit);
    default:
        return type->sign ? check_fit_s64(data, valid, rows, limit)
                          : check_fit_u64(data, valid, rows, limit);
    }
}

/* ---- strings ---------------------------------------------------------------------------- */

/* The offsets may lie where the sender can still write: what was checked of them before does not
 * count here, but for `last`. */
bool nqi_arrow_rows_are_utf8(const void *offsets, uint32_t width, const uint8_t *bytes,
                             uint64_t last, const uint8_t *valid, uint64_t rows)
{
    uint64_t before = 0;

    if (nqi_utf8_skip_ascii(bytes, bytes + last) == bytes + last)
        return true; /* wherever the rows end */
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t now = check_offset(offsets, width, i + 1);

        if (now < before || now > last)
            return false;
        if (check_is_valid(valid, i) && !nqi_utf8_is(bytes + before, bytes + now))
            return false;
        before = now;
    }
    return true;
}

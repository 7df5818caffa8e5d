/* Eight bytes at a time while they are ASCII, which text mostly is. */
#include "core/utf8.h"

#include <string.h>

#define UTF8_HIGH UINT64_C(0x8080808080808080)

const uint8_t *nqi_utf8_skip_ascii(const uint8_t *at, const uint8_t *end)
{
    uint64_t word;

    for (; end - at >= 8; at += 8) {
        memcpy(&word, at, sizeof(word));
        if (word & UTF8_HIGH)
            break;
    }
    while (at < end && *at < 0x80)
        at++;
    return at;
}

/* The character beyond ASCII at `at`.  @return its bytes; 0 = it is none, or not whole */
static unsigned utf8_character(const uint8_t *at, const uint8_t *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned len = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
    uint32_t code = *at & (0x7fu >> len);

    if (*at < 0xc0 || *at >= 0xf8 || (size_t)(end - at) < len)
        return 0;
    for (unsigned i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    return code >= least[len] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? len : 0;
}

bool nqi_utf8_is(const uint8_t *at, const uint8_t *end)
{
    unsigned len;

    while ((at = nqi_utf8_skip_ascii(at, end)) < end) {
        len = utf8_character(at, end);
        if (!len)
            return false;
        at += len;
    }
    return true;
}

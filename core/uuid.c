/* UUIDs: text to bytes, bytes to text, and random ones from the kernel. */
#include "core/err.h"
#include "core/random.h"
#include <netqueue/uuid.h>

/* A hyphen stands before these bytes. */
static bool uuid_hyphen(size_t i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

static int uuid_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Stops at the first wrong character, the end of the text included, so it never reads
 * past the NUL. */
static bool uuid_read(const char *text, nq_uuid *uuid)
{
    for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
        int high, low;

        if (uuid_hyphen(i) && *text++ != '-')
            return false;
        high = uuid_digit(*text);
        if (high < 0)
            return false;
        low = uuid_digit(text[1]);
        if (low < 0)
            return false;
        uuid->bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}

nq_err nq_uuid_parse(const char *text, nq_uuid *ret)
{
    nq_uuid uuid;

    if (!text || !uuid_read(text, &uuid))
        return nqi_fail(NQ_ERR_INVAL, "not a UUID; expected 36 characters like "
                                      "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e");
    *ret = uuid;
    return NQ_OK;
}

char *nq_uuid_format(const nq_uuid *uuid, char text[NQ_UUID_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    char *at = text;

    for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
        if (uuid_hyphen(i))
            *at++ = '-';
        *at++ = hex[uuid->bytes[i] >> 4];
        *at++ = hex[uuid->bytes[i] & 15];
    }
    *at = '\0';
    return text;
}

nq_err nq_uuid_random(nq_uuid *ret)
{
    nq_uuid uuid;
    nq_err err = nqi_random(uuid.bytes, sizeof(uuid.bytes));

    if (err)
        return err;
    uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40); /* version 4 */
    uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80); /* the RFC's variant */
    *ret = uuid;
    return NQ_OK;
}

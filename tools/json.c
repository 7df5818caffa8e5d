/* Writing JSON: for --json, and for the configurations that `bench` makes.
 *
 * Written by hand because nothing but strings needs care, and the command then links
 * nothing but the library. */
#include "tools/json.h"
#include <string.h>

/* How many bytes at `p` form one UTF-8 character; 0 when they do not. */
static size_t json_utf8(const unsigned char *p, size_t len)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 0 || n > len || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates, beyond U+10FFFF */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static void json_ascii(FILE *out, unsigned char c)
{
    if (c == '"' || c == '\\')
        fprintf(out, "\\%c", c);
    else if (c == '\n')
        fputs("\\n", out);
    else if (c < 0x20 || c == 0x7f)
        fprintf(out, "\\u%04x", c);
    else
        putc(c, out);
}

void nqi_json_bytes(FILE *out, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;

    putc('"', out);
    while (len) {
        size_t n = json_utf8(p, len);

        if (n == 1)
            json_ascii(out, *p);
        else if (n)
            fwrite(p, 1, n, out);
        else
            fputs("\\ufffd", out);
        n = n ? n : 1;
        p += n;
        len -= n;
    }
    putc('"', out);
}

void nqi_json_text(FILE *out, const char *text)
{
    if (text)
        nqi_json_bytes(out, text, strlen(text));
    else
        fputs("null", out);
}

void nqi_json_uuid(FILE *out, const nq_uuid *id)
{
    char text[NQ_UUID_TEXT];

    fprintf(out, "\"%s\"", nq_uuid_format(id, text));
}

/* A cursor over the text.  No escapes: neither ids nor keys need any.  The ids are sorted once, so
 * that finding takes as many steps for an id that is there as for one that is not; sorted are
 * pointers, because qsort() may leave copies of what it sorts in memory. */
#include "core/keyring.h"

#include "core/err.h"
#include "core/mac.h"
#include "core/random.h"
#include <nettle/base16.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>

struct nqi_keyring {
    struct nqi_keys others; /* known: the key of every id that is not listed; else stand-ins */
    struct nqi_keys *list;  /* as they stand in the file */
    size_t count, cap;
    const struct nqi_keys **sorted; /* by id; `count` of them */
};

struct keyring_text {
    const char *source;
    const char *start, *at, *end;
};

/* A string of the text, without its quotes. */
struct keyring_string {
    const char *at;
    size_t len;
};

/* What a member of an object means.  @return NQ_OK, or a failure with its text */
typedef nq_err (*keyring_member_fn)(struct keyring_text *text, struct nqi_keyring *ring,
                                    const struct keyring_string *name);

static nq_err keyring_wrong(const struct keyring_text *text, const char *what)
{
    unsigned line = 1;

    for (const char *at = text->start; at < text->at; at++)
        line += *at == '\n';
    return nqi_fail(NQ_ERR_CONFIG, "%s:%u: %s", text->source, line, what);
}

/* ---- JSON, as far as it is needed ------------------------------------------------------- */

static void keyring_skip_space(struct keyring_text *text)
{
    while (text->at < text->end &&
           (*text->at == ' ' || *text->at == '\t' || *text->at == '\r' || *text->at == '\n'))
        text->at++;
}

/* The next sign is `sign`, and is passed. */
static bool keyring_accept(struct keyring_text *text, char sign)
{
    keyring_skip_space(text);
    if (text->at == text->end || *text->at != sign)
        return false;
    text->at++;
    return true;
}

static nq_err keyring_string(struct keyring_text *text, struct keyring_string *ret)
{
    const char *from, *to;

    if (!keyring_accept(text, '"'))
        return keyring_wrong(text, "expected text in \"\"");
    from = text->at;
    to = memchr(from, '"', (size_t)(text->end - from));
    if (!to || memchr(from, '\\', (size_t)(to - from)) || memchr(from, '\n', (size_t)(to - from)))
        return keyring_wrong(text, "text that does not end on its line, or has a \\ in it");
    text->at = to + 1;
    *ret = (struct keyring_string){from, (size_t)(to - from)};
    return NQ_OK;
}

static nq_err keyring_object(struct keyring_text *text, struct nqi_keyring *ring,
                             keyring_member_fn member)
{
    struct keyring_string name = {0};
    nq_err err = NQ_OK;

    if (!keyring_accept(text, '{'))
        return keyring_wrong(text, "expected an object, in { }");
    if (keyring_accept(text, '}'))
        return NQ_OK;
    do {
        err = keyring_string(text, &name);
        if (!err && !keyring_accept(text, ':'))
            err = keyring_wrong(text, "expected a : here");
        if (!err)
            err = member(text, ring, &name);
    } while (!err && keyring_accept(text, ','));
    if (err || keyring_accept(text, '}'))
        return err;
    return keyring_wrong(text, "expected , or } here");
}

/* ---- keys ------------------------------------------------------------------------------- */

static bool keyring_is_made_of(const struct keyring_string *string, const char *signs)
{
    for (size_t i = 0; i < string->len; i++)
        if (!string->at[i] || !strchr(signs, string->at[i]))
            return false;
    return true;
}

static bool keyring_has_one_of(const struct keyring_string *string, const char *signs)
{
    for (size_t i = 0; i < string->len; i++)
        if (strchr(signs, string->at[i]))
            return true;
    return false;
}

#define KEYRING_UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define KEYRING_LOWER "abcdefghijklmnopqrstuvwxyz"
#define KEYRING_BASE64 KEYRING_UPPER KEYRING_LOWER "0123456789+/="

/* @return bytes; 0 = these are not hexadecimal digits of a key */
static size_t keyring_from_hex(const struct keyring_string *string, uint8_t *out)
{
    struct base16_decode_ctx ctx;
    size_t n = 0;

    if (string->len % 2 || string->len > 2 * (size_t)NQI_KEY_MOST ||
        !keyring_is_made_of(string, "0123456789abcdefABCDEF"))
        return 0;
    base16_decode_init(&ctx);
    return base16_decode_update(&ctx, &n, out, string->len, string->at) ? n : 0;
}

/* The same of base64.  What has letters of one kind only is written by people. */
static size_t keyring_from_base64(const struct keyring_string *string, uint8_t *out)
{
    struct base64_decode_ctx ctx;
    bool fine;
    size_t n = 0;

    if (string->len > BASE64_ENCODE_RAW_LENGTH((size_t)NQI_KEY_MOST) ||
        !keyring_is_made_of(string, KEYRING_BASE64) || !keyring_has_one_of(string, KEYRING_UPPER) ||
        !keyring_has_one_of(string, KEYRING_LOWER))
        return 0;
    base64_decode_init(&ctx);
    fine =
        base64_decode_update(&ctx, &n, out, string->len, string->at) && base64_decode_final(&ctx);
    explicit_bzero(&ctx, sizeof(ctx));
    return fine ? n : 0;
}

static bool keyring_is_one_byte(const uint8_t *raw, size_t len)
{
    return len && !memcmp(raw, raw + 1, len - 1);
}

static nq_err keyring_key(struct keyring_text *text, uint8_t *ret)
{
    uint8_t raw[BASE64_DECODE_LENGTH(BASE64_ENCODE_RAW_LENGTH(NQI_KEY_MOST))];
    struct keyring_string string = {0};
    nq_err err = keyring_string(text, &string);
    size_t len;

    if (err)
        return err;
    len = keyring_from_hex(&string, raw);
    if (!len)
        len = keyring_from_base64(&string, raw);
    if (len < NQI_KEY_LEAST || len > NQI_KEY_MOST || keyring_is_one_byte(raw, len))
        err =
            keyring_wrong(text, "a key is 16 to 128 random bytes in hexadecimal digits or base64, "
                                "not a word or a sentence: `openssl rand -hex 32` makes one");
    else
        nqi_mac(raw, len, "nq1 key", NULL, 0, ret); /* of any length: one of NQI_KEY bytes */
    explicit_bzero(raw, sizeof(raw));
    return err;
}

/* A key, or [the key, the one before]. */
static nq_err keyring_keys(struct keyring_text *text, struct nqi_keys *keys)
{
    nq_err err;

    keys->known = true;
    if (!keyring_accept(text, '['))
        return keyring_key(text, keys->key[0]);
    err = keyring_key(text, keys->key[0]);
    if (!err && keyring_accept(text, ','))
        err = keyring_key(text, keys->key[1]);
    if (!err && !keyring_accept(text, ']'))
        err = keyring_wrong(text, "expected a ] here: at most two keys, the new and the old one");
    return err;
}

/* ---- members ---------------------------------------------------------------------------- */

/* Keys that nobody has. */
static nq_err keyring_stand_in(struct nqi_keys *keys)
{
    *keys = (struct nqi_keys){0};
    return nqi_random(keys->key, sizeof(keys->key));
}

/* Room for one more; the list that was too small is wiped. */
static nq_err keyring_grow(struct nqi_keyring *ring)
{
    size_t cap = ring->cap ? 2 * ring->cap : 8;
    struct nqi_keys *list;

    if (ring->count < ring->cap)
        return NQ_OK;
    list = calloc(cap, sizeof(*list));
    if (!list)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for keys");
    if (ring->count) {
        memcpy(list, ring->list, ring->count * sizeof(*list));
        explicit_bzero(ring->list, ring->count * sizeof(*list));
    }
    free(ring->list);
    ring->list = list;
    ring->cap = cap;
    return NQ_OK;
}

static nq_err keyring_id(const struct keyring_text *text, const struct keyring_string *name,
                         nq_uuid *ret)
{
    char id[NQ_UUID_TEXT] = "";

    if (name->len < sizeof(id))
        memcpy(id, name->at, name->len);
    if (nq_uuid_parse(id, ret))
        return keyring_wrong(text, "\"keys\" has a member that is no UUID of 36 characters");
    return NQ_OK;
}

static nq_err keyring_on_id(struct keyring_text *text, struct nqi_keyring *ring,
                            const struct keyring_string *name)
{
    nq_err err = keyring_grow(ring);
    struct nqi_keys *keys;

    if (err)
        return err;
    keys = &ring->list[ring->count];
    err = keyring_stand_in(keys);
    if (!err)
        err = keyring_id(text, name, &keys->id);
    if (!err)
        err = keyring_keys(text, keys);
    ring->count += !err;
    return err;
}

static bool keyring_is(const struct keyring_string *name, const char *what)
{
    return name->len == strlen(what) && !memcmp(name->at, what, name->len);
}

static nq_err keyring_on_member(struct keyring_text *text, struct nqi_keyring *ring,
                                const struct keyring_string *name)
{
    if (keyring_is(name, "keys") && !ring->count)
        return keyring_object(text, ring, keyring_on_id);
    if (keyring_is(name, "key") && !ring->others.known)
        return keyring_keys(text, &ring->others);
    return keyring_wrong(text, "expected \"key\" or \"keys\", each at most once");
}

/* ---- the whole -------------------------------------------------------------------------- */

static int keyring_compare(const void *a, const void *b)
{
    const struct nqi_keys *const *one = a, *const *other = b;

    return memcmp((*one)->id.bytes, (*other)->id.bytes, sizeof(nq_uuid));
}

static nq_err keyring_sort(struct nqi_keyring *ring)
{
    ring->sorted = calloc(ring->count + 1, sizeof(const struct nqi_keys *));
    if (!ring->sorted)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for keys");
    for (size_t i = 0; i < ring->count; i++)
        ring->sorted[i] = &ring->list[i];
    qsort(ring->sorted, ring->count, sizeof(const struct nqi_keys *), keyring_compare);
    return NQ_OK;
}

static void keyring_freep(struct nqi_keyring **ring)
{
    nqi_keyring_free(*ring);
}

/* What the parts alone do not say. */
static nq_err keyring_check(struct keyring_text *text, const struct nqi_keyring *ring)
{
    keyring_skip_space(text);
    if (text->at != text->end)
        return keyring_wrong(text, "something stands behind the end");
    if (!ring->count && !ring->others.known)
        return keyring_wrong(text, "there is no key");
    for (size_t i = 1; i < ring->count; i++)
        if (nq_uuid_equal(&ring->sorted[i - 1]->id, &ring->sorted[i]->id))
            return keyring_wrong(text, "an id stands twice in \"keys\"");
    return NQ_OK;
}

nq_err nqi_keyring_parse(const char *source, const char *text, size_t len, struct nqi_keyring **ret)
{
    NQI_CLEANUP(keyring_freep) struct nqi_keyring *ring = calloc(1, sizeof(*ring));
    struct keyring_text cursor = {source, text, text, text + len};
    nq_err err;

    if (!ring)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for keys");
    err = keyring_stand_in(&ring->others);
    if (!err)
        err = keyring_object(&cursor, ring, keyring_on_member);
    if (!err)
        err = keyring_sort(ring);
    if (!err)
        err = keyring_check(&cursor, ring);
    if (err)
        return err;
    *ret = NQI_STEAL(ring);
    return NQ_OK;
}

void nqi_keyring_free(struct nqi_keyring *ring)
{
    if (!ring)
        return;
    if (ring->list)
        explicit_bzero(ring->list, ring->cap * sizeof(*ring->list));
    free(ring->list);
    free(ring->sorted);
    explicit_bzero(ring, sizeof(*ring));
    free(ring);
}

const struct nqi_keys *nqi_keyring_find(const struct nqi_keyring *ring, const nq_uuid *id)
{
    const struct nqi_keys *found = &ring->others;
    size_t from = 0, n = ring->count;

    while (n) { /* to the end, also when it was met */
        size_t half = n / 2;
        const struct nqi_keys *at = ring->sorted[from + half];
        int order = memcmp(id->bytes, at->id.bytes, sizeof(id->bytes));

        if (!order)
            found = at;
        from += order > 0 ? half + 1 : 0;
        n = order > 0 ? n - half - 1 : half;
    }
    return found;
}

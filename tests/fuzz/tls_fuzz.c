/* A certificate of a stranger: which UUID it names, if exactly one.
 *
 *     byte 0     bit 0: the rest is a whole certificate; else
 *     then       entries of its subjectAltName: u8 kind, u8 length, bytes
 *
 * The answer is what a plain look at the entries gives, and nothing is written when there is none.
 */
#include "tests/fuzz/fuzz.h"
#include <netqueue/transport_x509.h>
#include <strings.h>

#define PREFIX 9u /* of "urn:uuid:" */

struct tls_fuzz {
    struct nqi_buf in;
    unsigned uuids; /* entries that claim to be one */
    char last[NQT_X509_IDENTITY];
    bool broken;
};

static bool tls_is_hex(char c)
{
    return strchr("0123456789abcdefABCDEF", c) && c;
}

/* The same once more, by a table of places. */
static bool tls_is_uuid(const char *text, size_t len)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    if (len != PREFIX + sizeof(form) - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '-' ? text[PREFIX + i] != '-' : !tls_is_hex(text[PREFIX + i]))
            return false;
    return true;
}

static void tls_note(struct tls_fuzz *fuzz, const char *text, size_t len)
{
    if (len < PREFIX || strncasecmp(text, "urn:uuid:", PREFIX) != 0)
        return;
    fuzz->uuids++;
    if (tls_is_uuid(text, len))
        memcpy(fuzz->last, text, len);
    else
        fuzz->broken = true;
}

static void tls_add_entry(struct tls_fuzz *fuzz, GENERAL_NAMES *names)
{
    bool uri = nqi_buf_u8(&fuzz->in) % 2;
    size_t len = nqi_buf_u8(&fuzz->in);
    uint8_t *text = fuzz_exact(&fuzz->in, &len);
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();

    MUST(name && string && ASN1_STRING_set(string, text, (int)len));
    GENERAL_NAME_set0_value(name, uri ? GEN_URI : GEN_DNS, string);
    MUST(sk_GENERAL_NAME_push(names, name));
    if (uri)
        tls_note(fuzz, (char *)text, len);
    free(text);
}

/* A certificate that has nothing but these names. */
static X509 *tls_certificate(struct tls_fuzz *fuzz)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    X509 *cert = X509_new();

    MUST(names && cert);
    while (nqi_buf_left(&fuzz->in) && sk_GENERAL_NAME_num(names) < 16)
        tls_add_entry(fuzz, names);
    MUST(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1);
    GENERAL_NAMES_free(names);
    return cert;
}

static void tls_read(const uint8_t *data, size_t len)
{
    X509 *cert = d2i_X509(NULL, &data, (long)len);
    char uuid[NQT_X509_IDENTITY];

    if (cert && nqt_x509_find_uuid(cert, uuid))
        MUST(strlen(uuid) == NQT_X509_IDENTITY - 1 && tls_is_uuid(uuid, strlen(uuid)));
    X509_free(cert);
    ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tls_fuzz fuzz = {.in = nqi_buf_over(data, len)};
    char uuid[NQT_X509_IDENTITY] = "untouched";
    X509 *cert;
    bool found;

    if (nqi_buf_u8(&fuzz.in) & 1) {
        tls_read(fuzz.in.at, nqi_buf_left(&fuzz.in));
        return 0;
    }
    cert = tls_certificate(&fuzz);
    found = nqt_x509_find_uuid(cert, uuid);
    MUST(found == (fuzz.uuids == 1 && !fuzz.broken));
    MUST(!strcmp(uuid, found ? fuzz.last : "untouched"));
    X509_free(cert);
    ERR_clear_error();
    return 0;
}

/* ---- seeds ---- */

#define UUID "urn:uuid:6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e"

static void seed_entry(unsigned kind, const char *text)
{
    fuzz_add_u8(kind);
    fuzz_add_u8((unsigned)strlen(text));
    fuzz_add_text(text);
}

/* A whole one: an empty certificate with a name, without a valid signature. */
static void seed_certificate(void)
{
    struct tls_fuzz fuzz = {.in = nqi_buf_over("\1\55" UUID, sizeof("\1\55" UUID) - 1)};
    static const uint8_t secret[32] = {1};
    X509 *cert = tls_certificate(&fuzz);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof(secret));
    unsigned char *der = NULL;
    int len;

    MUST(cert && key && X509_set_version(cert, X509_VERSION_3) && X509_set_pubkey(cert, key));
    MUST(ASN1_TIME_set(X509_getm_notBefore(cert), 0) && ASN1_TIME_set(X509_getm_notAfter(cert), 1));
    MUST(X509_sign(cert, key, NULL));
    len = i2d_X509(cert, &der);
    MUST(len > 0);
    fuzz_add_u8(1);
    fuzz_add(der, (size_t)len);
    fuzz_seed();
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_free(cert);
}

void fuzz_seeds(void)
{
    static const char *const names[] = {UUID,
                                        "URN:UUID:6F1C2F3E-7C1B-4B1E-9D55-0B1F6A1D2C3E",
                                        "urn:uuid:",
                                        "urn:uuid:6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3",
                                        "urn:uuid:6f1c2f3e_7c1b-4b1e-9d55-0b1f6a1d2c3e",
                                        "http://x",
                                        UUID "0"};

    for (size_t i = 0; i < NQI_LEN(names); i++) {
        for (unsigned second = 0; second < 2; second++) {
            fuzz_add_u8(0);
            seed_entry(0, "mq.example.org");
            seed_entry(1, names[i]);
            if (second)
                seed_entry(1, names[(i + 1) % NQI_LEN(names)]);
            fuzz_seed();
        }
    }
    seed_certificate();
}

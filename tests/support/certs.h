/* Certificates, made by the openssl command once in a folder that goes with this process.
 *
 * One authority signs them all, unless the table says more; each server's is for 127.0.0.1, unless
 * it is for nobody. */
#ifndef NQTEST_CERTS_H
#define NQTEST_CERTS_H

#define NQTEST_CERT_CLIENT "00000000-0000-4000-8000-000000000001" /* UUID in `client` */
#define NQTEST_CERT_SERVER "11111111-1111-4111-8111-111111111111" /* UUID in `server` */

/* NAME_PEM: the certificate, NAME_KEY: its key. */
#define NQTEST_CERT_NAMES(each)                               \
    each(CA, "ca")           /* the authority */              \
        each(OTHER, "other") /* another one; for 127.0.0.1 */ \
        each(SERVER, "server") each(CLIENT, "client")         \
            each(NOBODY, "nobody")   /* no name, no UUID */   \
        each(ELSEWHERE, "elsewhere") /* for another name */   \
        each(EXPIRED, "expired") each(EARLY, "early") each(REVOKED, "revoked") /* in CRL */

#define NQTEST_CERT_ENUM(name, file) NQTEST_##name##_PEM, NQTEST_##name##_KEY,
enum nqtest_cert {
    NQTEST_CERT_NAMES(NQTEST_CERT_ENUM) NQTEST_CRL_PEM,
    NQTEST_JUNK_PEM,
    NQTEST_LOCKED_KEY,     /* that of `server`, under a password */
    NQTEST_LOCKED_OLD_KEY, /* the same in the form that OpenSSL had before PKCS#8 */
    NQTEST_CERTS
};

/* Paths; constant addresses, so that tables of options may point to them. */
extern char nqtest_certs[NQTEST_CERTS][96];
extern char nqtest_certs_folder[64];

/* Make them, once; ends the program if that does not work.  Before the tests fork. */
void nqtest_certs_make(void);

#endif

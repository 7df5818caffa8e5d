/**
 * @file
 * For transports with TLS: the text of the files that the options `tls.ca`, `tls.cert` and
 * `tls.key` name.
 *
 * Libraries say of a file that does not fit little more than that.  So it is read and looked at
 * here, once for all transports, and the library gets the text.  As transport_kit.h: no part of the
 * ABI, all `static inline`.
 *
 * Thread: any.  Everything here reads files, which may block.
 */
#ifndef NETQUEUE_TRANSPORT_TLS_H
#define NETQUEUE_TRANSPORT_TLS_H

#include <errno.h>
#include <netqueue/transport_kit.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a file of certificates or keys may have at most, in bytes. */
#define NQT_TLS_FILE_MAX (1 << 20)

/** Texts with a NUL, until nqt_tls_forget(); NULL = not configured. */
struct nqt_tls_texts {
    char *ca, *cert, *key;
};

/** End a text; if it was a secret, nobody finds it afterwards. */
static inline void nqt_tls_wipe(char **text)
{
    volatile char *at = *text;

    while (at && *at)
        *at++ = '\0';
    free(*text);
    *text = NULL;
}

static inline void nqt_tls_forget(struct nqt_tls_texts *texts)
{
    nqt_tls_wipe(&texts->ca);
    nqt_tls_wipe(&texts->cert);
    nqt_tls_wipe(&texts->key);
}

/** The whole text of one file.
 *
 * @param name  of the option, for people
 * @param path  "" = not configured: success, without a text
 * @param mark  what a file of that kind holds: "BEGIN CERTIFICATE"
 * @param ret   owned: nqt_tls_wipe(); untouched on failure
 * @return      0, or NQT_E_CONFIG with *err: it cannot be read, is too long or something else */
static inline int nqt_tls_load(const char *name, const char *path, const char *mark, char **ret,
                               struct nqt_error *err)
{
    FILE *file = *path ? fopen(path, "re") : NULL;
    char *text = file ? (char *)malloc(NQT_TLS_FILE_MAX + 1) : NULL;
    int error = errno;
    size_t len;

    if (!*path)
        return NQT_OK;
    if (!text) {
        if (file)
            fclose(file);
        return nqt_fail_native(err, NQT_E_CONFIG, "errno", error, "%s: cannot read %.120s: %s",
                               name, path, strerror(error));
    }
    setvbuf(file, NULL, _IONBF, 0); /* or a copy of the key would stay in the buffer */
    len = fread(text, 1, NQT_TLS_FILE_MAX, file);
    fclose(file);
    text[len] = '\0';
    if (len < NQT_TLS_FILE_MAX && strstr(text, mark)) {
        *ret = text;
        return NQT_OK;
    }
    nqt_tls_wipe(&text);
    if (len == NQT_TLS_FILE_MAX)
        return nqt_fail(err, NQT_E_CONFIG, "%s: %.120s is too long", name, path);
    return nqt_fail(err, NQT_E_CONFIG, "%s: no \"%s\" in PEM form in %.120s", name, mark, path);
}

/** All three; @param texts  empty on failure. */
static inline int nqt_tls_load_all(const struct nqt_tls_files *files, struct nqt_tls_texts *texts,
                                   struct nqt_error *err)
{
    struct nqt_tls_texts all = {NULL, NULL, NULL};
    int rc = nqt_tls_load("tls.ca", files->ca, "BEGIN CERTIFICATE", &all.ca, err);

    if (!rc)
        rc = nqt_tls_load("tls.cert", files->cert, "BEGIN CERTIFICATE", &all.cert, err);
    if (!rc)
        rc = nqt_tls_load("tls.key", files->key, "PRIVATE KEY", &all.key, err);
    if (rc)
        nqt_tls_forget(&all);
    *texts = all;
    return rc;
}

/** The rule for whoever listens. */
static inline int nqt_tls_check_server(const struct nqt_tls_files *files, struct nqt_error *err)
{
    if (*files->cert)
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG, "tls: a server needs \"cert\" and \"key\"");
}

#ifdef __cplusplus
}
#endif
#endif

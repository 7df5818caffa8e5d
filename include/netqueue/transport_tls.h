/**
 * @file
 * For transports with TLS: the options of the group `tls`, which have the same names and meaning
 * everywhere, and the text of the files that `tls.ca`, `tls.cert` and `tls.key` name.
 *
 * Libraries say of a file that does not fit little more than that.  So it is read and looked at
 * here, once for all transports, and the library gets the text.  transport_x509.h has the rest for
 * those that look at certificates with OpenSSL.  As transport_kit.h: no part of the ABI, all
 * `static inline`.
 *
 * Thread: any.  What reads files may block.
 */
#ifndef NETQUEUE_TRANSPORT_TLS_H
#define NETQUEUE_TRANSPORT_TLS_H

#include <errno.h>
#include <netqueue/transport_kit.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options: only during the call that received the nqt_cfg ---------------------------- */

/** Bytes of a name in the option `tls.name`, with its NUL. */
#define NQT_TLS_NAME_MAX 256

/** Entries of an option table, for transports that can have all of them; `tls.version` has a help
 *  of its own, for libraries differ in that. */
#define NQT_TLS_OPTION_CA                                                                     \
    {                                                                                         \
        .name = "tls.ca", .type = NQT_OPT_PATH,                                               \
        .help = "TLS: who may have signed the other side's certificate; without it a client " \
                "trusts whom the system trusts, and a server asks its clients for none"       \
    }
#define NQT_TLS_OPTION_CERT                                                                        \
    {                                                                                              \
        .name = "tls.cert", .type = NQT_OPT_PATH,                                                  \
        .help = "This side's certificate, and those that signed it; a server needs one, a client " \
                "when the server asks"                                                             \
    }
#define NQT_TLS_OPTION_KEY                                                               \
    {                                                                                    \
        .name = "tls.key", .type = NQT_OPT_PATH, .help = "The certificate's private key" \
    }
#define NQT_TLS_OPTION_CRL                                                        \
    {                                                                             \
        .name = "tls.crl", .type = NQT_OPT_PATH,                                  \
        .help = "Which certificates were revoked, by each of those who sign them" \
    }
#define NQT_TLS_OPTION_NAME                                                                        \
    {                                                                                              \
        .name = "tls.name", .type = NQT_OPT_STR,                                                   \
        .help = "The name or address that the server's certificate must be for, unless it is host" \
    }
#define NQT_TLS_OPTION_UUID                                                            \
    {                                                                                  \
        .name = "tls.uuid", .type = NQT_OPT_BOOL,                                      \
        .help = "The other side's certificate must name its UUID, as URI:urn:uuid:..." \
    }

/** What `tls.version` may say, for the option table; positions are NQT_TLS_1_*. */
static const char *const nqt_tls_versions[] = {"1.3", "1.2", NULL};
enum nqt_tls_version { NQT_TLS_1_3, NQT_TLS_1_2, NQT_TLS_UNSAID };

/** Ciphers of TLS 1.2 for OpenSSL, where that version is asked for: they authenticate and have
 *  forward secrecy, as all of 1.3 do. */
#define NQT_TLS_CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"

struct nqt_tls_opts {
    int on; /* one of them is set, whatever it says: none may be taken for protection in vain */
    struct nqt_tls_files files;
    char crl[NQT_PATH_MAX];
    char name[NQT_TLS_NAME_MAX]; /* of the server in its certificate; "" = host */
    enum nqt_tls_version version;
    int uuid; /* the certificate of the other side must carry its UUID */
};

/** Whether one of the group is set. */
static inline int nqt_tls_is_on(const struct nqt_host *host, nqt_cfg *cfg)
{
    static const char *const texts[] = {"tls.ca",  "tls.cert", "tls.key",
                                        "tls.crl", "tls.name", "tls.version"};
    const char *text;
    int64_t number;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!host->cfg_str(cfg, texts[i], &text))
            return 1;
    return !host->cfg_int(cfg, "tls.uuid", &number);
}

/** Read them.  Opens no file.
 *
 * @param out  untouched on failure
 * @return     0, or NQT_E_CONFIG with *err: a text is too long, `cert` or `key` stands alone, or
 *             `version` is none of them */
static inline int nqt_tls_opts_read(const struct nqt_host *host, nqt_cfg *cfg,
                                    struct nqt_tls_opts *out, struct nqt_error *err)
{
    struct nqt_tls_opts opts;
    uint32_t version = NQT_TLS_UNSAID;
    int64_t uuid = 0;
    const char *text;
    int rc;

    memset(&opts, 0, sizeof(opts));
    rc = nqt_cfg_tls(host, cfg, &opts.files, err);
    if (!rc)
        rc = nqt_cfg_text(host, cfg, "tls.crl", 0, opts.crl, sizeof(opts.crl), err);
    if (!rc)
        rc = nqt_cfg_text(host, cfg, "tls.name", 0, opts.name, sizeof(opts.name), err);
    if (!rc && !host->cfg_str(cfg, "tls.version", &text))
        rc = nqt_cfg_choice(host, cfg, "tls.version", nqt_tls_versions, &version, err);
    if (rc)
        return rc;
    (void)host->cfg_int(cfg, "tls.uuid", &uuid);
    opts.on = nqt_tls_is_on(host, cfg);
    opts.uuid = uuid != 0;
    opts.version = (enum nqt_tls_version)version;
    *out = opts;
    return NQT_OK;
}

/** For whom the certificate of a server at `host` must be. */
static inline const char *nqt_tls_name(const struct nqt_tls_opts *opts, const char *host)
{
    if (*opts->name)
        return opts->name;
    return strcmp(host, "*") == 0 ? "localhost" : host;
}

/* ---- files ------------------------------------------------------------------------------ */

/** What a file of certificates or keys may have at most, in bytes. */
#define NQT_TLS_FILE_MAX (1 << 20)

/** Texts with a NUL, until nqt_tls_forget(); NULL = not configured. */
struct nqt_tls_texts {
    char *ca, *cert, *key;
};

/** Nobody finds afterwards what these bytes were. */
static inline void nqt_tls_erase(char *bytes, size_t len)
{
    volatile char *at = bytes;

    while (len--)
        *at++ = '\0';
}

/** End a text, which may be a secret. */
static inline void nqt_tls_wipe(char **text)
{
    if (*text)
        nqt_tls_erase(*text, strlen(*text));
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
    if (len < NQT_TLS_FILE_MAX && strlen(text) == len && strstr(text, mark)) {
        *ret = text;
        return NQT_OK;
    }
    nqt_tls_erase(text, len); /* a key in another form than PEM has zeros */
    free(text);
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

/** The rules for whoever listens with TLS: 0, or NQT_E_CONFIG with *err. */
static inline int nqt_tls_check_server(const struct nqt_tls_opts *opts, struct nqt_error *err)
{
    if (!*opts->files.cert)
        return nqt_fail(err, NQT_E_CONFIG, "tls: a server needs \"cert\" and \"key\"");
    if (!*opts->files.ca && (opts->uuid || *opts->crl))
        return nqt_fail(err, NQT_E_CONFIG,
                        "tls.%s: a server asks its clients for certificates only with \"ca\"",
                        opts->uuid ? "uuid" : "crl");
    return NQT_OK;
}

#ifdef __cplusplus
}
#endif
#endif

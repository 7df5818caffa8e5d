/* Reading comes first as a whole, so that one bound holds for files and pipes. */
#include "core/conf_json.h"
#include "core/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *nqi_conf_json_source(const char *path)
{
    return path ? path : "configuration text";
}

/* ---- the file --------------------------------------------------------------------------- */

static void json_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void json_textp(char **text)
{
    free(*text);
}

static nq_err json_read(const char *path, char **ret, size_t *len)
{
    NQI_CLEANUP(json_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    NQI_CLEANUP(json_textp) char *text = NULL;
    size_t have = 0;
    ssize_t n;

    if (fd < 0)
        return nqi_fail_errno("%s: cannot open", path);
    text = malloc(NQI_CONF_JSON_CAP + 1);
    if (!text)
        return nqi_fail(NQ_ERR_NOMEM, "%s: no memory to read it", path);
    while (have <= NQI_CONF_JSON_CAP) {
        n = read(fd, text + have, NQI_CONF_JSON_CAP + 1 - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return nqi_fail_errno("%s: cannot read", path);
        if (n == 0)
            break;
        have += (size_t)n;
    }
    *ret = NQI_STEAL(text);
    *len = have;
    return NQ_OK;
}

/* ---- the text --------------------------------------------------------------------------- */

static nq_err json_parse(const char *source, const char *text, size_t len, json_t **ret)
{
    NQI_CLEANUP(nqi_json_freep) json_t *root = NULL;
    nq_err err = nqi_json_parse(source, text, len, NQI_CONF_JSON_DEPTH, JSON_REJECT_DUPLICATES,
                                NQ_ERR_CONFIG, &root);

    if (err)
        return err;
    if (!json_is_object(root))
        return nqi_fail(NQ_ERR_CONFIG, "%s:1:1: a configuration is one object, in { }", source);
    *ret = NQI_STEAL(root);
    return NQ_OK;
}

nq_err nqi_conf_json(const char *path, const char *text, size_t len, json_t **ret)
{
    const char *source = nqi_conf_json_source(path);
    NQI_CLEANUP(json_textp) char *read = NULL;
    nq_err err;

    if (path) {
        err = json_read(path, &read, &len);
        if (err)
            return err;
        text = read;
    }
    if (len > NQI_CONF_JSON_CAP)
        return nqi_fail(NQ_ERR_CONFIG, "%s: longer than %d bytes", source, NQI_CONF_JSON_CAP);
    return json_parse(source, text ? text : "", text ? len : 0, ret);
}

/* Reading comes first as a whole, so that one bound holds for files and pipes, and a scan for
 * depth runs before the parser, which recurses.  jansson does the rest; it tells line and
 * column, and knows duplicates. */
#include "core/conf_json.h"
#include "core/err.h"
#include "core/log.h"
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

/* Line and column, from 1, of text[at]; columns count characters, not bytes, as jansson's do. */
static void json_place(const char *text, size_t at, int *line, int *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            (*line)++;
            *column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {
            (*column)++;
        }
    }
}

/* Where the text goes deeper than allowed, or `len`. */
static size_t json_too_deep(const char *text, size_t len)
{
    bool quoted = false;
    size_t depth = 0;

    for (size_t i = 0; i < len; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if (text[i] == '{' || text[i] == '[')
            depth++;
        else if ((text[i] == '}' || text[i] == ']') && depth)
            depth--;
        if (depth > NQI_CONF_JSON_DEPTH)
            return i;
    }
    return len;
}

static nq_err json_parse(const char *source, const char *text, size_t len, json_t **ret)
{
    NQI_CLEANUP(nqi_json_freep) json_t *root = NULL;
    size_t deep = json_too_deep(text, len);
    char seen[4 * JSON_ERROR_TEXT_LENGTH + 1];
    json_error_t error = {0};
    int line, column;

    if (deep < len) {
        json_place(text, deep, &line, &column);
        return nqi_fail(NQ_ERR_CONFIG,
                        "%s:%d:%d: more than %d objects and arrays inside one "
                        "another",
                        source, line, column, NQI_CONF_JSON_DEPTH);
    }
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!root && json_error_code(&error) == json_error_out_of_memory)
        return nqi_fail(NQ_ERR_NOMEM, "%s: no memory to parse it", source);
    if (!root)
        return nqi_fail(NQ_ERR_CONFIG, "%s:%d:%d: %s", source, NQI_MAX(error.line, 1),
                        NQI_MAX(error.column, 1), nqi_log_escape(error.text, seen, sizeof(seen)));
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

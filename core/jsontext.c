/* A scan for depth runs before the parser, which recurses.  jansson does the rest; it tells line
 * and column. */
#include "core/jsontext.h"
#include "core/err.h"
#include "core/log.h"

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
static size_t json_too_deep(const char *text, size_t len, unsigned most)
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
        if (depth > most)
            return i;
    }
    return len;
}

nq_err nqi_json_parse(const char *source, const char *text, size_t len, unsigned depth,
                      size_t flags, nq_err bad, json_t **ret)
{
    size_t deep = json_too_deep(text, len, depth);
    char seen[4 * JSON_ERROR_TEXT_LENGTH + 1];
    json_error_t error = {0};
    int line, column;
    json_t *root;

    if (deep < len) {
        json_place(text, deep, &line, &column);
        return nqi_fail(bad,
                        "%s:%d:%d: more than %u objects and arrays inside one "
                        "another",
                        source, line, column, depth);
    }
    root = json_loadb(text, len, flags, &error);
    if (!root && json_error_code(&error) == json_error_out_of_memory)
        return nqi_fail(NQ_ERR_NOMEM, "%s: no memory to parse it", source);
    if (!root)
        return nqi_fail(bad, "%s:%d:%d: %s", source, NQI_MAX(error.line, 1),
                        NQI_MAX(error.column, 1), nqi_log_escape(error.text, seen, sizeof(seen)));
    *ret = root;
    return NQ_OK;
}

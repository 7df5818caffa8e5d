/* One connection, one document.  What goes wrong is told in words that say what to look at. */
#include "tools/say.h"
#include "tools/signals.h"
#include "tools/stats.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ASK_BYTES_MAX ((size_t)1 << 30) /* of a document: a million peers fit */

struct ask {
    const char *path;
    int64_t until; /* ns; INT64_MAX = for ever */
    int fd;
    char *text; /* owned; `len` bytes, then a NUL */
    size_t len, cap;
};

static void ask_fini(struct ask *ask)
{
    if (ask->fd >= 0)
        close(ask->fd);
    free(ask->text);
}

/* ---- connecting -------------------------------------------------------------------------- */

static int ask_refused(const char *path, int number)
{
    switch (number) {
    case ENOENT:
        nqi_say("%s is not there: is the program running, and has its configuration \"stats\": "
                "{\"socket\": ...} with this path?",
                path);
        break;
    case ECONNREFUSED:
        nqi_say("nobody listens at %s: the process that made it has ended", path);
        break;
    case EACCES:
    case EPERM:
        nqi_say("%s: only the user whose queue it is, and root, may ask it", path);
        break;
    case EPROTOTYPE:
        nqi_say("%s is the socket of something else", path);
        break;
    case EAGAIN:
        nqi_say("%s: too many ask already", path);
        break;
    default:
        nqi_say_errno(path, number);
        break;
    }
    return NQI_EXIT_LINK;
}

static int ask_connect(struct ask *ask)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(ask->path);
    struct stat st;

    if (len >= sizeof(addr.sun_path))
        return ask_refused(ask->path, ENAMETOOLONG);
    memcpy(addr.sun_path, ask->path, len + 1);
    if (stat(ask->path, &st))
        return ask_refused(ask->path, errno);
    if (!S_ISSOCK(st.st_mode)) {
        nqi_say("%s is no socket: it must be the path of \"stats\": {\"socket\": ...}", ask->path);
        return NQI_EXIT_LINK;
    }
    ask->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ask->fd < 0 || connect(ask->fd, (struct sockaddr *)&addr, sizeof(addr)))
        return ask_refused(ask->path, errno);
    return NQI_EXIT_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

static int ask_wait(const struct ask *ask)
{
    struct pollfd pollfd = {.fd = ask->fd, .events = POLLIN};

    while (poll(&pollfd, 1, NQI_SLICE_NS / NQI_NS_PER_MS) <= 0) {
        if (nqi_interrupted())
            return NQI_EXIT_INTERRUPTED;
        if (nqi_now_ns() < ask->until)
            continue;
        nqi_say("%s: no answer in time: in mode manual a queue answers when its program drives it",
                ask->path);
        return NQI_EXIT_LINK;
    }
    return NQI_EXIT_OK;
}

static int ask_grow(struct ask *ask)
{
    size_t cap = ask->cap ? ask->cap * 2 : 65536;
    char *text = cap <= ASK_BYTES_MAX ? realloc(ask->text, cap) : NULL;

    if (!text) {
        nqi_say("%s: the answer is too long", ask->path);
        return NQI_EXIT_FAILED;
    }
    ask->text = text;
    ask->cap = cap;
    return NQI_EXIT_OK;
}

/* To the end. */
static int ask_read(struct ask *ask)
{
    int code = NQI_EXIT_OK;

    while (!code) {
        ssize_t n;

        if (ask->cap - ask->len < 2)
            code = ask_grow(ask);
        if (!code)
            code = ask_wait(ask);
        if (code)
            break;
        n = read(ask->fd, ask->text + ask->len, ask->cap - ask->len - 1);
        if (n == 0)
            break;
        if (n > 0)
            ask->len += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            code = ask_refused(ask->path, errno);
    }
    return code;
}

static int ask_parse(const struct ask *ask, json_t **ret)
{
    json_t *document = json_loadb(ask->text, ask->len, JSON_REJECT_DUPLICATES, NULL);
    const char *what = json_string_value(json_object_get(document, "netqueue"));

    if (what && strcmp(what, "stats") == 0 &&
        json_integer_value(json_object_get(document, "format")) == 1) {
        *ret = document;
        return NQI_EXIT_OK;
    }
    if (!ask->len)
        nqi_say("%s: closed without an answer: the queue closes, or only its own user may ask",
                ask->path);
    else if (!document && ask->text[0] == '{' && ask->text[ask->len - 1] != '\n')
        nqi_say("%s: the answer is cut off: the queue closed, or this was too slow", ask->path);
    else
        nqi_say("%s: what listens there is no queue of netqueue, or of a version unknown here",
                ask->path);
    json_decref(document);
    return NQI_EXIT_FAILED;
}

int nqi_stats_ask(const char *path, int64_t timeout_ns, json_t **ret)
{
    NQI_CLEANUP(ask_fini) struct ask ask = {.path = path, .fd = -1, .until = INT64_MAX};
    int code;

    if (timeout_ns != NQ_FOREVER && __builtin_add_overflow(nqi_now_ns(), timeout_ns, &ask.until))
        ask.until = INT64_MAX;
    code = ask_connect(&ask);
    if (!code)
        code = ask_read(&ask);
    return code ? code : ask_parse(&ask, ret);
}

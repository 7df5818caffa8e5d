/* Sends messages with names that no honest sender would choose, for tests/system/cli_test.sh.
 *
 *     put_names CONFIG NAME...
 *
 * In a NAME "%00" stands for a NUL byte, which no argument can hold. */
#include <netqueue/netqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_TIMEOUT_NS INT64_C(20000000000)

static void names_die(const char *what)
{
    fprintf(stderr, "put_names: %s: %s\n", what, nq_error());
    exit(1);
}

/* @return bytes in `out`, which has room for the text */
static size_t names_decode(const char *text, char *out)
{
    size_t len = 0;

    while (*text) {
        if (strncmp(text, "%00", 3) == 0) {
            out[len++] = 0;
            text += 3;
        } else {
            out[len++] = *text++;
        }
    }
    return len;
}

static void names_put(nq_queue *queue, const char *text)
{
    char *name = malloc(strlen(text) + 1);
    nq_future *future = NULL;
    nq_msg *msg = NULL;

    if (!name || nq_msg_new("hostile", 7, &msg) != NQ_OK ||
        nq_msg_set_meta(msg, "name", name, names_decode(text, name)) != NQ_OK)
        names_die("message");
    if (nq_put(queue, msg, NULL, 0, &future) != NQ_OK ||
        nq_future_wait(future, NAMES_TIMEOUT_NS) != NQ_OK ||
        nq_future_outcome(future, NULL) != NQ_DELIVERED)
        names_die("put");
    nq_future_free(future);
    free(name);
}

int main(int argc, char **argv)
{
    nq_queue *queue = NULL;

    if (argc < 2 || nq_open(argv[1], &queue) != NQ_OK)
        names_die("open");
    for (int i = 2; i < argc; i++)
        names_put(queue, argv[i]);
    if (nq_close(queue, NAMES_TIMEOUT_NS, NULL) != NQ_OK)
        names_die("close");
    nq_free(queue);
    return 0;
}

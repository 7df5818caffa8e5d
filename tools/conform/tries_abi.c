/* That the module lives with an older and a newer core, with structs of other sizes, and on threads
 * that change.  See try.h. */
#include "tools/conform/host_in.h"
#include "tools/conform/try.h"
#include <dirent.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the host's table --------------------------------------------------------------------- */

/* All that every core can ask for. */
static void live(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    nqtest_push(rig.c, 200000, 3000, 1, 10);
    nqtest_push(rig.s, 200000, 70000, 1, 2);
    nqtest_until_received(rig.s, 200000);
    nqtest_until_received(rig.c, 200000);
    if (nqtest_can(NQT_CAP_RX_HOLD)) {
        (void)nqtest_hold(rig.s, 1);
        (void)nqtest_hold(rig.s, 0);
    }
    if (nqtest_can(NQT_CAP_DRAIN))
        (void)nqtest_shutdown(rig.c);
    nqtest_settle(5);
    nqtest_rig_free(&rig);
}

static void an_older_host_is_enough(void)
{
    nqtest_table = NQTEST_TABLE_OLDEST;
    live();
}

static void a_newer_host_is_no_obstacle(void)
{
    nqtest_table = NQTEST_TABLE_LONGER;
    live();
}

/* ---- sizes ---------------------------------------------------------------------------------- */

#define CANARY 0x5a

static void check_canary(const void *from, size_t size, size_t whole, const char *what)
{
    const unsigned char *bytes = from;

    for (size_t i = size; i < whole; i++)
        NQTEST_MUST(NONE, bytes[i] == CANARY, "%s of %zu bytes was written at byte %zu", what, size,
                    i);
}

/* The error of a connect() that must fail. */
static void check_small_error(struct nqtest_ep *listening, uint32_t size)
{
    struct nqtest_serial serial = {listening->host};
    struct nqtest_link link = {.host = listening->host, .ep = listening, .serial = &serial};
    struct nqtp_link *plugin = NULL;
    struct nqt_error err;
    int rc;

    memset(&err, CANARY, sizeof(err));
    err.size = size;
    nqtest_enter(listening->host, "connect()");
    rc = nqtest_tested->module->ops->connect(listening->plugin, (nqt_link *)&link,
                                             (nqt_serial *)&serial, &plugin, &err);
    nqtest_leave(listening->host);
    NQTEST_MUST(LISTENER, rc < 0, "connect() of an endpoint that listens answers %d", rc);
    check_canary(&err, size, sizeof(err), "struct nqt_error");
}

static void structs_are_written_to_their_size(void)
{
    static const uint32_t sizes[] = {4, 16, offsetof(struct nqt_error, text)};
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_info info;

    for (size_t i = 0; i < LEN(sizes); i++)
        check_small_error(rig.server, sizes[i]);
    memset(&info, CANARY, sizeof(info));
    info.size = offsetof(struct nqt_info, local);
    (void)nqtest_tested->module->ops->info(rig.c->plugin, &info);
    check_canary(&info, offsetof(struct nqt_info, local), sizeof(info), "struct nqt_info");
    nqtest_rig_free(&rig);
}

/* ---- threads -------------------------------------------------------------------------------- */

static void go_on_elsewhere(void *arg)
{
    struct nqtest_rig *rig = arg;

    nqtest_push(rig->c, 100000, 1000, 1, 10);
    nqtest_push(rig->s, 100000, 1000, 1, 10);
    nqtest_until_received(rig->s, rig->c->tx.end);
    nqtest_until_received(rig->c, rig->s->tx.end);
}

static void close_elsewhere(void *arg)
{
    nqtest_rig_free(arg);
}

static void each_slot_may_run_on_another_thread(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    for (int i = 0; i < 3; i++) {
        nqtest_on_thread(go_on_elsewhere, &rig);
        go_on_elsewhere(&rig);
    }
    nqtest_on_thread(close_elsewhere, &rig);
}

static unsigned tasks(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned n = 0;

    while (dir && (entry = readdir(dir)))
        n += *entry->d_name != '.';
    if (dir)
        closedir(dir);
    return n;
}

static void loop_starts_no_thread(void)
{
    unsigned before = tasks(); /* a sanitizer may have one */
    struct nqtest_rig rig;

    if (nqtest_tested->module->threading != NQT_THREADING_LOOP)
        nqtest_leave_out("it says that it has threads of its own");
    rig = nqtest_rig_usual();
    go_on_elsewhere(&rig);
    NQTEST_MUST(NONE, tasks() == before, "it says LOOP and has started %u threads",
                tasks() - before);
    nqtest_rig_free(&rig);
}

const struct nqtest_try nqtest_tries_abi[] = {
    {NQTEST_RULE_OLDER, .run = an_older_host_is_enough},
    {NQTEST_RULE_NEWER, .run = a_newer_host_is_no_obstacle},
    {NQTEST_RULE_SIZES, .run = structs_are_written_to_their_size},
    {NQTEST_RULE_ANYWHERE, .run = each_slot_may_run_on_another_thread},
    {NQTEST_RULE_THREADS, .run = loop_starts_no_thread},
    {.rule = NQTEST_RULE_NONE},
};

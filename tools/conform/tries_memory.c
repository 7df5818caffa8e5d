/* Loans, buffers that outlive everything, and many lives one after the other.  See try.h. */
#include "tools/conform/try.h"
#include <malloc.h>
#include <stdlib.h>

#define LOAN 1000u

/* ---- loans ----------------------------------------------------------------------------------- */

static void a_loan_is_memory_like_any_other(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_buf *buf = NULL, *sent;
    uint32_t taken;
    uint8_t *bytes;

    if (nqtest_loan(rig.c, LOAN, &buf))
        nqtest_leave_out("loan() has none");
    NQTEST_MUST(NONE, buf && buf->nseg == 1 && buf->len == LOAN && buf->seg[0].iov_len == LOAN,
                "a loan is not one segment of the size that was asked for");
    bytes = buf->seg[0].iov_base;
    NQTEST_MUST(NONE, (uintptr_t)bytes % 64 == 0, "a loan does not begin at 64 bytes");
    for (uint32_t i = 0; i < LOAN; i++)
        bytes[i] = nqtest_pattern(i);
    sent = buf;
    buf->ops->ref(buf);
    NQTEST_COMPARE(NONE, nqtest_send(rig.c, &sent, 1, &taken), ==, NQT_OK);
    NQTEST_MUST(NONE, taken == 1, "a loan is not taken");
    nqtest_until_received(rig.s, LOAN);
    nqtest_rig_free(&rig);
    for (uint32_t i = 0; i < LOAN; i++)
        NQTEST_MUST(NONE, bytes[i] == nqtest_pattern(i), "a loan does not outlive its queue");
    buf->ops->unref(buf);
}

/* ---- what is kept -----------------------------------------------------------------------------
 */

static void give_back(void *arg)
{
    struct nqtest_link *kept = arg;

    for (unsigned i = 0; i < kept->nkept; i++)
        kept->kept[i]->ops->unref(kept->kept[i]);
}

/* What is kept has the bytes that came first. */
static void look_at_kept(const struct nqtest_link *link, const char *when)
{
    uint64_t at = 0;

    for (unsigned i = 0; i < link->nkept; i++)
        for (uint32_t s = 0; s < link->kept[i]->nseg; s++)
            for (size_t k = 0; k < link->kept[i]->seg[s].iov_len; k++)
                NQTEST_MUST(NONE,
                            ((uint8_t *)link->kept[i]->seg[s].iov_base)[k] == nqtest_pattern(at++),
                            "a received buffer has changed %s", when);
}

/* Large ones, and loans, may come another way than small ones. */
static const struct {
    size_t len;
    bool loaned;
} kinds[] = {{5000, false}, {200000, false}, {5000, true}};
#define KINDS (int)(sizeof(kinds) / sizeof(kinds[0]))

static void send_loan(struct nqtest_link *link, uint64_t at, size_t len)
{
    struct nqt_buf *buf = NULL;
    uint32_t taken = 0;

    if (nqtest_loan(link, len, &buf))
        nqtest_leave_out("loan() has none");
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf->seg[0].iov_base)[i] = nqtest_pattern(at + i);
    NQTEST_COMPARE(NONE, nqtest_send(link, &buf, 1, &taken), ==, NQT_OK);
    NQTEST_MUST(LOAN, taken == 1, "a loan is not taken");
}

/* Send four of a kind, and wait until they are there. */
static void four_come(const struct nqtest_rig *rig, int kind)
{
    uint64_t before = rig->s->received;
    size_t len = kinds[kind].len;

    if (kinds[kind].loaned && !nqtest_can(NQT_CAP_LOAN_TX))
        nqtest_leave_out("it lends no memory");
    if (!kinds[kind].loaned)
        nqtest_push(rig->c, 4 * len, len, 1, 4);
    for (unsigned i = 0; kinds[kind].loaned && i < 4; i++)
        send_loan(rig->c, before + i * len, len);
    nqtest_until_received(rig->s, before + 4 * len);
}

static void what_came_outlives_its_link(int kind)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_link kept;

    rig.s->keep = true;
    four_come(&rig, kind);
    kept = *rig.s;
    nqtest_host_close(rig.client_host);
    nqtest_host_close(rig.server_host);
    nqtest_host_free(rig.client_host);
    nqtest_host_free(rig.server_host);
    look_at_kept(&kept, "after its link was closed");
    nqtest_on_thread(give_back, &kept);
    NQTEST_MUST(BUFFERS, !nqtest_bufs, "%ld buffers are still referenced", nqtest_bufs);
    if (!kept.nkept)
        nqtest_leave_out("it hands no buffers up");
}

static void what_came_stays_while_more_comes(int kind)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    rig.s->keep = true;
    four_come(&rig, kind);
    rig.s->keep = false;
    for (unsigned i = 0; i < 20; i++)
        four_come(&rig, kind);
    if (!rig.s->nkept)
        nqtest_leave_out("it hands no buffers up");
    look_at_kept(rig.s, "while others came");
    give_back(rig.s);
    nqtest_rig_free(&rig);
}

/* ---- many lives -------------------------------------------------------------------------------
 */

/* The C library and others keep memory for later, but not more and more of it: what grows in each
 * of so many rounds is a leak. */
#define ROUNDS 6
#define LIVES 30         /* in a round */
#define BYTES_A_LIFE 48u /* less is not looked at */

static void live_once(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    nqtest_push(rig.c, 10000, 1000, 1, 10);
    nqtest_until_received(rig.s, 10000);
    nqtest_rig_free(&rig);
}

/* How much more of malloc() is used after a round; of libraries with threads nobody knows. */
static size_t round_grows(void)
{
    size_t before = mallinfo2().uordblks, after;

    for (int i = 0; i < LIVES; i++)
        live_once();
    after = mallinfo2().uordblks;
    return after < before || nqtest_tested->module->threading == NQT_THREADING_OWN ? 0
                                                                                   : after - before;
}

static void lives_leave_nothing(void)
{
    size_t least = SIZE_MAX;

    for (int i = 0; i < ROUNDS && least >= LIVES * BYTES_A_LIFE; i++) {
        size_t grown = round_grows();

        least = grown < least ? grown : least;
    }
    NQTEST_MUST(NONE, least < LIVES * BYTES_A_LIFE,
                "%zu bytes of malloc() or more are left after each life", least / LIVES);
}

static bool has_thirteen(const void *ep)
{
    const struct nqtest_ep *own = ep;
    unsigned ups = 0;

    for (unsigned i = 0; i < own->naccepted; i++)
        ups += own->accepted[i]->ups;
    return ups >= 13;
}

static void many_endpoints_live_beside_each_other(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    const struct nqtest_opt *opts = nqtest_with_port(nqtest_tested->client, rig.server);
    struct nqtest_ep *eps[12];
    struct nqtest_link *links[12];

    for (size_t i = 0; i < 12; i++) {
        NQTEST_COMPARE(NONE, nqtest_ep_open(rig.client_host, false, opts, &eps[i], NULL), ==, 0);
        NQTEST_UNTIL(nqtest_is_ep_up, eps[i]);
        links[i] = nqtest_connect(eps[i], NULL);
        NQTEST_MUST(NONE, links[i], "connect() of endpoint %zu failed", i);
        NQTEST_UNTIL(nqtest_is_up, links[i]);
    }
    nqtest_until_or(NQTEST_RULE_UP, has_thirteen, rig.server, "ACCEPT and LINK_UP of each");
    NQTEST_COMPARE(NONE, rig.server->naccepted, ==, 13);
    for (size_t i = 0; i < 12; i++)
        nqtest_push(links[i], 3000, 1000, 1, 3);
    for (size_t i = 0; i < 12; i++)
        nqtest_until_received(rig.server->accepted[i + 1], 3000);
    for (size_t i = 0; i < 12; i += 2) {
        nqtest_close(links[i]);
        nqtest_ep_close(eps[i]);
    }
    nqtest_settle(5);
    for (size_t i = 1; i < 12; i += 2)
        NQTEST_MUST(NONE, !links[i]->downs, "the end of one endpoint is another one's, too");
    nqtest_rig_free(&rig);
}

const struct nqtest_try nqtest_tries_memory[] = {
    {NQTEST_RULE_ENDPOINTS, .run = many_endpoints_live_beside_each_other},
    {NQTEST_RULE_LOAN, .run = a_loan_is_memory_like_any_other, .caps = NQT_CAP_LOAN_TX},
    {NQTEST_RULE_LATE, .each = what_came_outlives_its_link, .rounds = KINDS},
    {NQTEST_RULE_VIEWS, .each = what_came_stays_while_more_comes, .rounds = KINDS},
    {NQTEST_RULE_LIVES, .run = lives_leave_nothing},
    {.rule = NQTEST_RULE_NONE},
};

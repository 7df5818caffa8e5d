/* Memory that was lent is given up: by a cell that tells the peer that none behind it names that
 * segment, and unmapped on both sides; the peer's views stay as long as it likes.
 *
 *     idle    after a burst: a segment that is empty and was not used for a sweep.
 *             The timer runs while there is more than one segment, ever more
 *             slowly while nothing is used.
 *     kept    when there is no room to lend: a segment of which nothing is left
 *             but leases, none of which has moved for `reclaim`.  The peer is
 *             left at most as much as the pool is large; when that leaves no
 *             room either, its link ends.
 *
 * Nothing is ever taken from under a reader. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"

#define RETIRE_FIRST_NS INT64_C(1000000000)
#define RETIRE_MOST_NS INT64_C(64000000000)

/* False: no room to tell the peer; a later sweep will do. */
static bool retire_one(struct nqtp_link *link, uint32_t number)
{
    if (!shm_tx_put_retire(&link->tx, number))
        return false;
    shm_blocks_give_up(link->blocks, number, link->tx.sent - 1);
    return true;
}

static void retire_set(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    mod->host->timer_set(link->sweep, mod->host->now_ns(mod->core) + link->sweep_ns);
}

static void retire_tick(void *arg)
{
    struct nqtp_link *link = arg;

    shm_link_enter(link);
    if (link->state == SHM_UP) /* behind the end of our direction there is no cell */
        shm_loan_sweep(link);
    shm_link_count(link);
    if (link->state == SHM_UP && shm_blocks_count(link->blocks) > 1)
        retire_set(link);
    shm_link_leave(link);
}

void shm_retire_watch(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    if (shm_blocks_count(link->blocks) < 2)
        return;
    link->sweep_ns = RETIRE_FIRST_NS;
    if (link->sweep)
        retire_set(link);
    else if (nqt_timer_start(mod->host, mod->core, link->serial, retire_tick, link, link->sweep_ns,
                             &link->sweep))
        link->sweep = NULL; /* no memory: the next one tries again */
}

void shm_retire_idle(struct nqtp_link *link)
{
    uint32_t number;
    bool room = true;

    while (room && shm_blocks_find_idle(link->blocks, &number))
        room = retire_one(link, number);
    if (shm_blocks_sweep(link->blocks))
        link->sweep_ns = RETIRE_FIRST_NS;
    else if (link->sweep_ns < RETIRE_MOST_NS)
        link->sweep_ns *= 2;
}

/* Until there is room for `len`.  @return segments; *found = of the last look for one */
static uint32_t retire_until_room(struct nqtp_link *link, size_t len, int *found)
{
    uint32_t number, given_up = 0;

    while ((*found = shm_blocks_find_kept(link->blocks, &number)) > 0 && retire_one(link, number)) {
        given_up++;
        if (shm_blocks_has_room(link->blocks, len))
            break;
    }
    return given_up;
}

void shm_retire_eased(struct nqtp_link *link, size_t len)
{
    if (len >= link->pressed_len)
        link->pressed_ns = 0;
}

bool shm_retire_kept(struct nqtp_link *link, size_t len)
{
    const struct nqtp_mod *mod = link->ep->mod;
    int64_t now = mod->host->now_ns(mod->core);
    uint32_t given_up;
    int found;

    if (!link->pressed_ns) {
        link->pressed_ns = now;
        link->pressed_len = len;
        shm_blocks_sweep_kept(link->blocks);
    }
    if (now - link->pressed_ns < link->ep->opts.reclaim_ns)
        return false;
    given_up = retire_until_room(link, len, &found);
    link->pressed_ns = 0;
    if (!given_up && found < 0)
        shm_link_down(link, NQT_E_LOST, 0, "%s: it keeps more of our memory than it may",
                      link->peer);
    return given_up > 0;
}

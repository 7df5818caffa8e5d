/* What the simulation says to its network; the plugin exports it as `nqsim_net`.
 *
 * The network joins queues of one process by streams of bytes in memory, or, when it is LOSSY, by
 * messages.  Nothing happens by itself: the clock is the simulation's, and so is each fault.  One
 * thread only. */
#ifndef NQSIM_NET_H
#define NQSIM_NET_H

#include <stdbool.h>
#include <stdint.h>

struct nqsim_weather {
    uint32_t delay_max_us; /* of each buffer, one way */
    uint32_t window;       /* bytes that may be under way in one direction */
    bool pieces;           /* what arrives is handed up in pieces of random size */
    uint32_t cut_every;    /* bytes after which, on average, a direction is cut; 0 = never */
    uint32_t refuse_1000;  /* of a thousand connects, so many are refused */
    uint32_t silent_1000;  /* of a thousand cuts, so many are not told: both sides find out */
    /* LOSSY: of a thousand messages so many are lost, come twice, come up to `late_us` later */
    uint32_t lose_1000, twice_1000, late_1000, late_us;
};

struct nqsim_net {
    /* `lossy` = bytes that a message may have; 0 = streams */
    void (*begin)(uint64_t seed, uint64_t lossy);
    void (*set_weather)(const struct nqsim_weather *weather);
    /* Cut the `n`th connection, modulo their number.  @return false: there is none */
    bool (*cut)(unsigned n, bool silent);
    /* Nothing that `node` sends from now on arrives, and its connections are cut. */
    void (*crash)(const char *node);
    uint64_t (*bytes)(void); /* delivered since begin() */
    unsigned (*cuts)(void);
};

#endif

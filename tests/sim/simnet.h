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
    uint32_t tamper_1000; /* of a thousand packets, somebody in the middle tampers with so many */
};

/* What somebody says on a link of his own who overhears the greetings of others. */
enum nqsim_intrusion {
    NQSIM_INTRUDE_GARBAGE, /* anything */
    NQSIM_INTRUDE_HALF,    /* a part of a HELLO, or nothing */
    NQSIM_INTRUDE_REPLAY,  /* somebody's HELLO, and his AUTH if that resumes */
    NQSIM_INTRUDE_CHANGED, /* the same with some bytes changed */
    NQSIM_INTRUDE_OPEN,    /* somebody's HELLO, and an OPEN of his own */
    NQSIM_INTRUSIONS
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
    /* @param victim  the id to open a session under  @return false: no server, or no memory */
    bool (*intrude)(enum nqsim_intrusion what, const uint8_t victim[16]);
    void (*withdraw)(void); /* his links are cut */
    /* @return how many were welcomed since begin(); *attempts: of so many */
    unsigned (*intruders)(unsigned *attempts);
    unsigned (*tampered)(void); /* packets since begin() */
};

#endif

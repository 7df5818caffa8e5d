/* Somebody in the middle of the simulated network.  What passes he changes, leaves out, repeats,
 * moves, cuts short, or puts something of his own in its place: what he made up, or what he heard
 * before, also on other links.  He has no key. */
#include "tests/sim/simnet_inside.h"

#include <stdlib.h>
#include <string.h>

#define HEARD 8
#define HEARD_MAX 2048
#define HEAD 8
#define RECORD_TYPES 12
#define WELCOME 3
#define WELCOME_RECORD 168
#define WELCOME_RECEIVED (HEAD + 23) /* the last byte of how many records arrived */

enum { CHANGE, LEAVE_OUT, REPEAT, MOVE, CUT_SHORT, SAY_AGAIN, MAKE_UP, TAMPERINGS };

static struct {
    struct {
        size_t len;
        unsigned char data[HEARD_MAX];
    } heard[HEARD];
    unsigned next, count;
} middle;

void nqsim_tamper_begin(void)
{
    memset(&middle, 0, sizeof(middle));
}

unsigned nqsim_tampered(void)
{
    return middle.count;
}

static void hear(const struct packet *packet)
{
    unsigned at = middle.next++ % HEARD;

    middle.heard[at].len = packet->len < HEARD_MAX ? packet->len : HEARD_MAX;
    memcpy(middle.heard[at].data, packet->data, middle.heard[at].len);
}

static void change(struct packet *packet)
{
    for (uint64_t n = 1 + nqsim_draw(3); n; n--)
        packet->data[nqsim_draw(packet->len)] ^= (unsigned char)(1 + nqsim_draw(255));
}

/* A record that looks fine, where records are not proven. */
static void make_up(struct packet *packet)
{
    size_t len = packet->len < HEAD ? 0 : packet->len - HEAD;

    for (size_t i = 0; i < packet->len; i++)
        packet->data[i] = (unsigned char)nqsim_draw(nqsim_draw(2) ? 256 : 2);
    if (packet->len < HEAD)
        return;
    packet->data[0] = (unsigned char)nqsim_draw(RECORD_TYPES);
    packet->data[1] = (unsigned char)nqsim_draw(4); /* DATA: begin, end */
    packet->data[2] = packet->data[3] = packet->data[4] = packet->data[5] = 0;
    packet->data[6] = (unsigned char)(len >> 8);
    packet->data[7] = (unsigned char)len;
}

static void say_again(struct packet *packet)
{
    unsigned from = (unsigned)nqsim_draw(HEARD);

    if (!middle.heard[from].len)
        return;
    if (packet->len > middle.heard[from].len)
        packet->len = middle.heard[from].len;
    memcpy(packet->data, middle.heard[from].data, packet->len);
}

/* He knows the protocol: there are few WELCOMEs, and what a server says that it has is worth a lie.
 */
static bool lie(struct packet *packet)
{
    if (!nqsim_state.weather.tamper_1000 || packet->len < WELCOME_RECORD ||
        packet->data[0] != WELCOME || nqsim_draw(4))
        return false;
    packet->data[WELCOME_RECEIVED] ^= (unsigned char)(1 + nqsim_draw(7));
    return true;
}

enum nqsim_fate nqsim_tamper(struct packet *packet)
{
    hear(packet);
    if (lie(packet)) {
        middle.count++;
        return NQSIM_GOES;
    }
    if (nqsim_draw(1000) >= nqsim_state.weather.tamper_1000)
        return NQSIM_GOES;
    middle.count++;
    switch (nqsim_draw(TAMPERINGS)) {
    case CHANGE:
        change(packet);
        return NQSIM_GOES;
    case LEAVE_OUT:
        return NQSIM_IS_LOST;
    case REPEAT:
        return NQSIM_GOES_TWICE;
    case MOVE:
        return NQSIM_OVERTAKES;
    case CUT_SHORT:
        packet->len = 1 + nqsim_draw(packet->len);
        return NQSIM_GOES;
    case SAY_AGAIN:
        say_again(packet);
        return NQSIM_GOES;
    default:
        make_up(packet);
        return NQSIM_GOES;
    }
}

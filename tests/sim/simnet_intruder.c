/* A stranger in the simulated network.  He has links of his own to the server and nobody's key; he
 * overhears what clients say in their greetings, and says it again, whole, changed or in part.
 *
 * Success is a WELCOME.  A verbatim OPEN is not among what he says again, because OPEN needs no
 * proof: it keeps out who cannot listen, no more. */
#include "tests/sim/simnet_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELLO_RECORD 264
#define HELLO_ID 24
#define AUTH_RECORD 136
#define HEARD 16
#define TYPE_AUTH 2
#define TYPE_WELCOME 3
#define METHOD_OPEN 1

static struct {
    unsigned char said[NQSIM_SAID];
    bool proves; /* it is of no use but to who has a key */
} heard[HEARD];

static struct {
    unsigned next, attempts, successes;
} intruder;

void nqsim_intruder_begin(void)
{
    memset(heard, 0, sizeof(heard));
    memset(&intruder, 0, sizeof(intruder));
}

static void overhear_client(struct nqtp_link *link, const unsigned char *data, size_t len)
{
    size_t n = len < NQSIM_SAID - link->nsaid ? len : NQSIM_SAID - link->nsaid;

    memcpy(link->said + link->nsaid, data, n);
    link->nsaid += n;
    if (!n || link->nsaid < NQSIM_SAID)
        return;
    memcpy(heard[intruder.next % HEARD].said, link->said, NQSIM_SAID);
    heard[intruder.next % HEARD].proves = link->said[HELLO_RECORD + 3] != METHOD_OPEN;
    intruder.next++;
}

void nqsim_overhear(struct nqtp_link *link, const struct nqt_buf *buf)
{
    const unsigned char *first = buf->nseg ? buf->seg[0].iov_base : NULL;

    if (link->intruder) {
        intruder.successes += first && buf->seg[0].iov_len && first[0] == TYPE_WELCOME;
        return;
    }
    for (uint32_t i = 0; link->side == 0 && i < buf->nseg; i++)
        overhear_client(link, buf->seg[i].iov_base, buf->seg[i].iov_len);
}

/* ---- what he says ----------------------------------------------------------------------- */

static void say(struct nqtp_link *link, const void *data, size_t len)
{
    struct packet *packet = len ? calloc(1, sizeof(*packet) + len) : NULL;

    if (!packet)
        return;
    memcpy(packet->data, data, len);
    packet->len = len;
    packet->due = nqsim_state.now;
    *link->last = packet;
    link->last = &packet->next;
    link->flying += len;
}

static void change(unsigned char *data, size_t len)
{
    for (uint64_t n = 1 + nqsim_draw(3); n; n--)
        data[nqsim_draw(len)] ^= (unsigned char)(1 + nqsim_draw(255));
}

static void say_garbage(struct nqtp_link *link)
{
    unsigned char data[600];
    size_t len = 1 + nqsim_draw(sizeof(data));

    for (size_t i = 0; i < len; i++)
        data[i] = (unsigned char)nqsim_draw(256);
    say(link, data, len);
}

/* An OPEN of his own under the id of somebody who is there. */
static void make_open(unsigned char *auth)
{
    memset(auth, 0, AUTH_RECORD);
    auth[0] = TYPE_AUTH;
    auth[3] = METHOD_OPEN;
    auth[7] = AUTH_RECORD - 8;
    auth[15] = 200; /* counter */
    for (size_t i = 40; i < AUTH_RECORD; i++)
        auth[i] = (unsigned char)nqsim_draw(256);
}

static void say_again(struct nqtp_link *link, enum nqsim_intrusion what, const uint8_t *victim)
{
    unsigned from = intruder.next ? (unsigned)nqsim_draw(HEARD) % intruder.next : 0;
    unsigned char said[NQSIM_SAID];
    bool proves = heard[from].proves;

    if (!intruder.next) {
        say_garbage(link);
        return;
    }
    memcpy(said, heard[from].said, sizeof(said));
    if (what == NQSIM_INTRUDE_OPEN) {
        memcpy(said + HELLO_ID, victim, 16);
        make_open(said + HELLO_RECORD);
    }
    if (what == NQSIM_INTRUDE_CHANGED)
        change(said + (nqsim_draw(2) ? HELLO_RECORD : 0), nqsim_draw(2) ? AUTH_RECORD : 64);
    say(link, said, what == NQSIM_INTRUDE_HALF ? nqsim_draw(HELLO_RECORD) : HELLO_RECORD);
    if (what == NQSIM_INTRUDE_HALF || (!proves && what != NQSIM_INTRUDE_OPEN))
        return;
    say(link, said + HELLO_RECORD, AUTH_RECORD);
}

bool nqsim_intrude(enum nqsim_intrusion what, const uint8_t victim[16])
{
    struct nqtp_link *link = nqsim_accept_from("intruder");

    if (!link)
        return false;
    intruder.attempts++;
    link->intruder = true;
    if (what == NQSIM_INTRUDE_GARBAGE)
        say_garbage(link);
    else
        say_again(link, what, victim);
    link->ended = nqsim_draw(2);
    nqsim_poke(link);
    return true;
}

void nqsim_withdraw(void)
{
    for (struct wire *wire = nqsim_state.wires; wire; wire = wire->next)
        if (wire->end[1] && wire->end[1]->intruder)
            nqsim_wire_cut(wire, false);
}

unsigned nqsim_intruders(unsigned *attempts)
{
    *attempts = intruder.attempts;
    return intruder.successes;
}

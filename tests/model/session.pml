/* How a session is attached, goes on and is acknowledged (docs/protocol.md): a client, a server and
 * a network that cuts.
 *
 * The client dials LINKS links, one after the other.  A link is cut at any time, for each end at
 * another one: what is under way arrives late, or never.  Either side may forget a session without
 * a link.  HELLO and CHALLENGE are left out: what they carry is in AUTH, whose proof is good for
 * one link only, because each has a nonce of the server.  An intruder has one link of its own,
 * number 0; it hears each AUTH that goes on with a session, and replays it, or opens a session
 * under the client's id.
 *
 * Checked in every order of steps:
 *   - a message arrives at most once, and behind those that were put before it
 *   - within a session no record is missing
 *   - what is acknowledged has arrived, also when one side hears of it after the end of the session
 *   - of the links of a session one is accepted
 *   - a link is not accepted behind one that was dialed later, nor one of the intruder
 *   - each side finds the numbers of the other one possible
 *   - on the last link, which is not cut, everything arrives and is acknowledged
 *
 * Planted faults, each of which the check must find:
 *   BUG_NONCE     a proof is good for any link
 *   BUG_PROOF     nobody looks at the proof
 *   BUG_COUNTER   RESUME with an old counter is accepted
 *   BUG_AGAIN     OPEN with an old counter is accepted
 *   BUG_OPENED    OPEN is answered by the session that it finds, whoever opened it
 *   BUG_KEEP      the link that another one replaces is read on
 *   BUG_BEHIND    the sender goes on behind what it sent, not behind what arrived
 *   BUG_ACKED     the sender goes on behind what was acknowledged
 *   BUG_FIRST     a session that is found again goes on where its lost WELCOME left it
 *   BUG_REACHED   what may have arrived is sent again in the next session
 *   BUG_ACK       the acknowledgement that was lost is not repeated
 *   BUG_EARLY     records are acknowledged before they came
 *   BUG_TOMB      the server remembers more of a session than it had
 *   BUG_STRANGER  it tells whoever asks
 *   BUG_FORMER    the client says that it had more of the last session than it had */

#ifndef LINKS
#define LINKS 3
#endif
#ifndef PUTS
#define PUTS 2 /* messages of the client, and ... */
#endif
#ifndef ANSWERS
#define ANSWERS 1 /* ... of the server */
#endif

#define OPEN 1
#define RESUME 2

mtype = { AUTH, WELCOME, ENDED, REJECT, DATA, ACK };

/* AUTH: the link that it was made for.  WELCOME: resumed, session, records received.  ENDED: the
 * last.
 * DATA: message, number of the record.  ACK: number.  REJECT: duplicate or no session. */
chan up[LINKS + 1] = [2] of { mtype, byte, byte, byte };
chan down[LINKS + 1] = [2] of { mtype, byte, byte, byte };

/* What AUTH says, by the link it was made for. */
byte auth_method[LINKS + 1], auth_counter[LINKS + 1], auth_received[LINKS + 1],
    auth_opening[LINKS + 1], auth_session[LINKS + 1], auth_former[LINKS + 1];

/* One direction of one side. */
typedef sender {
    byte base;    /* messages that are over with earlier sessions */
    byte handed;  /* records that this link took */
    byte reached; /* that any link took */
    byte acked
}

/* The client */
byte link;    /* the one it has; 0 = none */
byte dialed;  /* so many */
bool is_up;   /* it was welcomed */
byte mine;    /* its session; 0 = none */
byte former;  /* the last one */
byte had;     /* records of that one */
byte opening; /* of a session that it asked for; 0 = none */
byte openings;
byte counter;
byte received;
byte acknowledged; /* the last ACK that it sent */
sender put;

/* The server */
#define CHALLENGED 1
#define ACCEPTED 2
#define GONE 3
byte end[LINKS + 1]; /* of each link: nothing, or the above */
byte session, sessions, last_counter, got, told, began_by;
byte at; /* the session's link; 0 = none */
byte tomb, tomb_got; /* the last session that ended; it may be forgotten */
sender answer;

/* Ghosts */
byte arrived, answered; /* the last message that arrived */
byte newest;            /* link that was accepted for the session */
bool strange = true;    /* the intruder's link is to come */

byte x, y, z; /* scratch */
bool again, proven, ended;

inline drain(c)
{
    do
    :: len(c) > 0 -> c?_, _, _, _
    :: else -> break
    od
}

/* The session is over: what any link took ends as unknown, the rest goes on in the next one. */
inline restart(s)
{
#ifdef BUG_REACHED
    s.base = s.base + s.acked;
#else
    s.base = s.base + s.reached;
#endif
    s.handed = 0;
    s.reached = 0;
    s.acked = 0
}

/* The peer has so many records. */
inline go_back(s, records)
{
    assert(s.acked <= records && records <= s.handed);
#ifdef BUG_BEHIND
    skip;
#else
#ifdef BUG_ACKED
    s.handed = s.acked
#else
    s.handed = records
#endif
#endif
}

/* ---- the client -------------------------------------------------------------------------- */

inline client_over()
{
    former = mine;
#ifdef BUG_FORMER
    had = received + 1;
#else
    had = received;
#endif
    mine = 0;
    counter = 0;
    received = 0;
    acknowledged = 0;
    restart(put)
}

inline client_lose()
{
    drain(down[link]);
    if
    :: drain(up[link])         /* under way, and lost */
    :: end[link] != GONE       /* it arrives late */
    fi;
    link = 0;
    is_up = false
}

inline client_dial()
{
    dialed++;
    link = dialed;
    end[link] = CHALLENGED;
    counter++;
    if
    :: mine -> auth_method[link] = RESUME; auth_session[link] = mine
    :: else ->
        if
        :: !opening -> openings++; opening = openings
        :: else -> skip
        fi;
        auth_method[link] = OPEN;
        auth_session[link] = former;
        auth_former[link] = had;
        auth_opening[link] = opening
    fi;
    auth_counter[link] = counter;
    auth_received[link] = received;
    up[link]!AUTH, link, 0, 0
}

inline client_hear()
{
    if
    :: down[link]?WELCOME, x, y, z ->
        assert(!is_up);
        if
        :: x -> assert(y == mine); go_back(put, z)
        :: else ->
            assert(!mine && z == 0);
            mine = y;
            opening = 0;
            former = 0;
            had = 0
        fi;
        is_up = true;
#ifndef BUG_ACK
        acknowledged = 0
#endif
    :: down[link]?ENDED, x, _, _ ->
        assert(!is_up && mine && put.acked <= x && x <= put.handed);
        assert(!x || arrived >= put.base + x);
        put.acked = x;
        client_over();
        client_lose()
    :: down[link]?REJECT, _, _, _ ->
        if
        :: mine -> client_over()
        :: else -> skip
        fi;
        client_lose()
    :: down[link]?DATA, x, y, _ ->
        assert(is_up && y == received + 1);
        assert(x > answered);
        received = y;
        answered = x
    :: down[link]?ACK, x, _, _ ->
        assert(is_up && x <= put.handed);
        if
        :: x > put.acked -> put.acked = x
        :: else -> skip
        fi;
        assert(arrived >= put.base + put.acked)
    fi;
    x = 0;
    y = 0;
    z = 0
}

/* ---- the server -------------------------------------------------------------------------- */

inline server_over()
{
    if
    :: at -> end[at] = GONE; drain(up[at])
    :: else -> skip
    fi;
    at = 0;
    tomb = session;
#ifdef BUG_TOMB
    tomb_got = got + 1;
#else
    tomb_got = got;
#endif
    session = 0;
    got = 0;
    began_by = 0;
    newest = 0;
    restart(answer)
}

inline server_lose(l)
{
    end[l] = GONE;
    drain(up[l]);
    if
    :: at == l -> at = 0
    :: else -> skip
    fi
}

inline reject(l)
{
    end[l] = GONE;
    drain(up[l]);
    if
    :: l == link -> down[l]!REJECT, 0, 0, 0
    :: else -> skip
    fi
}

inline tell_end(l)
{
    assert(l); /* not the intruder */
    end[l] = GONE;
    drain(up[l]);
    if
    :: l == link -> down[l]!ENDED, tomb_got, 0, 0
    :: else -> skip
    fi
}

inline welcome(l, a, resumed)
{
    if
#ifndef BUG_KEEP
    :: at && at != l -> end[at] = GONE; drain(up[at])
#endif
    :: else -> skip
    fi;
    assert(l > newest); /* neither late nor the intruder's, which is 0 */
    newest = l;
    at = l;
    end[l] = ACCEPTED;
    last_counter = auth_counter[a];
    told = 0;
    if
    :: l == link -> down[l]!WELCOME, resumed, session, got
    :: else -> skip /* nobody is there any more */
    fi
}

inline server_begin(l, a)
{
    sessions++;
    session = sessions;
    began_by = auth_opening[a];
    welcome(l, a, 0)
}

inline server_auth(l, a)
{
    again = (session && auth_opening[a] == began_by && got == 0);
    proven = (session && auth_session[a] == session && l == a && a);
    ended = (tomb && auth_session[a] == tomb && l == a && a);
#ifdef BUG_STRANGER
    ended = (tomb && auth_session[a] == tomb);
#endif
#ifdef BUG_NONCE
    proven = (session && auth_session[a] == session);
#endif
#ifdef BUG_PROOF
    proven = (session != 0);
#endif
#ifndef BUG_AGAIN
    again = again && auth_counter[a] > last_counter;
#endif
#ifdef BUG_OPENED
    again = (session && auth_counter[a] > last_counter);
#endif
    if
    :: auth_method[a] == RESUME ->
        if
#ifdef BUG_COUNTER
        :: proven ->
#else
        :: proven && auth_counter[a] > last_counter ->
#endif
            go_back(answer, auth_received[a]);
            welcome(l, a, 1)
        :: !proven && ended -> tell_end(l)
        :: else -> reject(l)
        fi
    :: auth_method[a] == OPEN && !session -> server_begin(l, a)
    :: auth_method[a] == OPEN && session && again ->
#ifndef BUG_FIRST
        go_back(answer, 0);
#endif
        welcome(l, a, 0)
    :: auth_method[a] == OPEN && session && !again && proven ->
        if
        :: auth_former[a] > answer.acked && auth_former[a] <= answer.handed ->
            answer.acked = auth_former[a];
            assert(answered >= answer.base + answer.acked)
        :: else -> skip
        fi;
        server_over();
        server_begin(l, a)
    :: else -> reject(l)
    fi;
    again = false;
    proven = false;
    ended = false
}

inline server_hear(l)
{
    if
    :: up[l]?AUTH, x, _, _ -> server_auth(l, x)
    :: up[l]?DATA, x, y, _ ->
        assert(at == l && y == got + 1);
        assert(x > arrived);
        got = y;
        arrived = x
    :: up[l]?ACK, x, _, _ ->
        assert(at == l && x <= answer.handed);
        if
        :: x > answer.acked -> answer.acked = x
        :: else -> skip
        fi;
        assert(answered >= answer.base + answer.acked)
    fi;
    x = 0;
    y = 0
}

/* ---- both -------------------------------------------------------------------------------- */

inline send_data(s, to, open)
{
    s.handed++;
    if
    :: s.handed > s.reached -> s.reached = s.handed
    :: else -> skip
    fi;
    if
    :: open -> to!DATA, s.base + s.handed, s.handed, 0
    :: else -> skip /* the other end is gone, and this one does not know */
    fi
}

inline send_ack(said, records, to, open)
{
    said = records;
    if
    :: open -> to!ACK, records, 0, 0
    :: else -> skip
    fi
}

#ifdef BUG_EARLY
#define FINAL(records) (records + 1)
#else
#define FINAL(records) (records)
#endif

#define SERVER_HEARS(l) atomic { end[l] != GONE && len(up[l]) > 0 -> server_hear(l) }
#define SERVER_LOSES(l) atomic { (end[l] == CHALLENGED || end[l] == ACCEPTED) -> server_lose(l) }
#define REPLAYED(a) \
    atomic { strange && auth_method[a] == RESUME -> strange = false; server_auth(0, a) }

active proctype all()
{
    auth_method[0] = OPEN;
    auth_counter[0] = 100;
    auth_opening[0] = 100;
    do
    :: atomic { !link && dialed < LINKS -> client_dial() }
    :: atomic { !link && mine -> client_over() }
    :: atomic { link && link < LINKS -> client_lose() }
    :: atomic { link && len(down[link]) > 0 -> client_hear() }
    :: atomic { link && is_up && put.base + put.handed < PUTS && nfull(up[link]) ->
        send_data(put, up[link], end[link] != GONE) }
    :: atomic { link && is_up && acknowledged < FINAL(received) && nfull(up[link]) ->
        send_ack(acknowledged, FINAL(received), up[link], end[link] != GONE) }

    :: SERVER_HEARS(1)
    :: SERVER_HEARS(2)
    :: SERVER_HEARS(LINKS)
    :: SERVER_LOSES(1)
    :: SERVER_LOSES(2)
#if LINKS > 3
    :: SERVER_HEARS(3)
    :: SERVER_LOSES(3)
#endif
    :: atomic { session && !at -> server_over() }
    :: atomic { tomb -> tomb = 0; tomb_got = 0 }
    :: atomic { at && answer.base + answer.handed < ANSWERS && nfull(down[at]) ->
        send_data(answer, down[at], at == link) }
    :: atomic { at && told < FINAL(got) && nfull(down[at]) ->
        send_ack(told, FINAL(got), down[at], at == link) }

    :: atomic { strange && session -> strange = false; server_auth(0, 0) }
    :: REPLAYED(1)
    :: REPLAYED(2)
    :: REPLAYED(LINKS)
    :: else -> break
    od;
    /* Nobody has anything to do. */
    assert(!is_up || (at == LINKS && put.base + put.acked == PUTS &&
                      answer.base + answer.acked == ANSWERS))
}

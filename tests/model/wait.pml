/* Who drives a loop (core/wait.c, core/wait_keeper.c): token, waiters, keeper, kicks.
 *
 * W waiters wait GETS times each for one item.  Items come through a descriptor (FDS times), through
 * posts (POSTS times) and straight from another thread (FOREIGN times): as many in all as are waited
 * for, or more.  Each shared access is one step, in every order.  Checked: at most one thread drives;
 * no item is lost or given twice; everybody comes to the end (a state in which nobody can go on, and
 * not all have ended, is a lost wake-up or a deadlock); the room can be closed afterwards.
 *
 * Modes:      none = auto, MANUAL, THREAD
 * Additions:  TIMED    the first waiter may also run out of time
 *             CALLBACK the keeper (thread) calls back, for as long as it takes every waiter to end
 *             HOT      the descriptor does not report to epoll once a waiter has looked at it, until
 *                      somebody cools it
 *
 * Planted faults, each of which the check must find, named for what is taken away.  In brackets the
 * mode in which nothing heals it: in mode auto the keeper's timer makes a delay of many a loss.
 *   BUG_TOKEN          the token is taken without comparing
 *   BUG_SLEEP_CHECK    no look at the inbox after SLEEP, but before
 *   BUG_WORD_CHECK     no look at the own word after SLEEP, but before
 *   BUG_ENLIST_CHECK   the condition is not looked at again after enlisting
 *   BUG_KICK_ONCE      a kick stores KICKED whatever the token says now
 *   BUG_LEAVE_INBOX    who leaves does not look at the inbox
 *   BUG_LEAVE_CHECK    waiters are counted before FREE, not after (MANUAL)
 *   BUG_FOLLOW_CHECK   a follower sleeps without a look at the token (MANUAL)
 *   BUG_PROMOTE        who leaves promotes nobody (MANUAL)
 *   BUG_LATE           a promotion that meets a time-out is dropped (MANUAL, TIMED)
 *   BUG_REST           the keeper rests without a look at the inbox
 *   BUG_OFF            the keeper goes OFF without a second look at the token
 *   BUG_BUSY           who leaves beside a busy keeper promotes nobody (CALLBACK)
 *   BUG_HOT            the keeper rests without a look at what is hot (HOT)
 *   BUG_STOP           to stop is not looked for after SLEEP (THREAD)
 *   BUG_AWAIT          who leaves does not wake the library's thread (THREAD, CALLBACK) */

#ifndef W
#define W 2
#endif
#ifndef GETS
#define GETS 1
#endif
#ifndef FDS
#define FDS 1
#endif
#ifndef POSTS
#define POSTS 1
#endif
#ifndef FOREIGN
#define FOREIGN 0
#endif

#define FREE 0
#define RUN 1
#define SLEEP 2
#define KICKED 3

#define OFF 0
#define TICK 1
#define ARMED 2
#define BUSY 3

#define ASLEEP 0
#define READY 1
#define PROMOTED 2

#if !defined(MANUAL) && !defined(THREAD)
#define AUTO
#endif

#ifdef THREAD
byte token = RUN; /* the thread's from the start */
byte keeper = OFF;
#else
byte token = FREE;
#ifdef MANUAL
byte keeper = OFF;
#else
byte keeper = ARMED;
#endif
#endif

/* the loop */
byte fd;    /* items at the descriptor: readable while there are any */
byte inbox; /* posts */
bool edge;  /* the eventfd was written since somebody looked */
bool hot;   /* the descriptor is looked at only */

/* the keeper's own */
#ifdef AUTO
bool watch = true;
#else
bool watch;
#endif
bool timer, moved, stop;

/* waiters */
byte items;
byte nwaiters;
bool lock, keeper_lock;
bool listed[W], driving[W];
byte word[W];
bool token_asleep; /* the thread waits in nqi_token_await() */

/* ghosts */
byte drivers, given, got, done;
byte producers = (FDS > 0) + (POSTS > 0) + (FOREIGN > 0);

#ifdef BUG_STOP
#define HAS_WORK (inbox > 0)
#else
#define HAS_WORK (inbox > 0 || stop)
#endif
#define LOOP_READY (fd > 0 && !hot || edge)

inline take_token(won)
{
    atomic {
        if
#ifdef BUG_TOKEN
        :: token != SLEEP -> token = RUN; won = true
#else
        :: token == FREE -> token = RUN; won = true
#endif
        :: else -> won = false
        fi;
        if
        :: won -> drivers++; assert(drivers == 1)
        :: else -> skip
        fi
    }
}

/* What a lock guards is one step, unless a word is used inside that others use without the lock. */

/* Under keeper_lock, in which `keeper` became ARMED. */
inline arm_and_unlock()
{
    atomic {
        if
        :: token == FREE ->
            watch = true;
#ifndef BUG_HOT
            timer = timer || hot
#endif
        :: else -> keeper = TICK; timer = true
        fi;
        keeper_lock = false
    }
}

inline keeper_arm(t, busy)
{
    busy = false;
#ifdef AUTO
    if
    :: keeper == ARMED -> skip
    :: else ->
        atomic {
            !keeper_lock;
            busy = (keeper == BUSY);
            if
            :: keeper == OFF || keeper == TICK -> keeper = ARMED; keeper_lock = true; t = 1
            :: else -> t = 0
            fi
        }
        if
        :: t -> t = 0; arm_and_unlock()
        :: else -> skip
        fi
    fi
#endif
}

inline stand_down()
{
#ifdef AUTO
    if
    :: keeper == ARMED ->
        atomic {
            !keeper_lock;
            if
            :: keeper == ARMED -> watch = false; keeper = TICK; timer = true
            :: else -> skip
            fi
        }
    :: else -> skip
    fi
#else
    skip
#endif
}

inline keeper_tick()
{
    atomic {
        !keeper_lock;
        if
        :: keeper == OFF -> keeper = TICK; timer = true
        :: else -> skip
        fi
    }
}

inline kick(t, b)
{
    t = token;
    atomic {
        if
#ifdef BUG_KICK_ONCE
        :: t == SLEEP -> token = KICKED
#else
        :: t == SLEEP && token == SLEEP -> token = KICKED
        :: t == SLEEP && token != SLEEP -> t = token
#endif
        :: else -> skip
        fi;
        if
        :: t == SLEEP -> t = KICKED
        :: t == FREE -> skip
        :: else -> t = RUN
        fi
    }
    if
    :: t == KICKED -> edge = true; t = 0
    :: t == FREE ->
        edge = true;
        keeper_arm(t, b)
    :: else -> t = 0
    fi
}

/* Give items to listed waiters, in order; `t`: one of them drives and is to be kicked. */
inline notify(n, t, b)
{
    if
    :: nwaiters > 0 ->
        atomic {
            !lock;
            t = 0;
            n = 0;
            do
            :: n < W && listed[n] && items > 0 ->
                items--;
                got++;
                listed[n] = false;
                nwaiters--;
                word[n] = READY; /* the futex: a follower goes on when its word changes */
                t = t + driving[n];
                n++
            :: n < W && !(listed[n] && items > 0) -> n++
            :: n == W -> break
            od;
            n = 0;
            lock = t
        }
        if
        :: t ->
            kick(t, b);
            lock = false
        :: else -> skip
        fi
    :: else -> skip
    fi
}

inline promote(n)
{
    if
    :: nwaiters > 0 ->
        atomic {
            !lock;
            n = 0;
            do
            :: n < W && !listed[n] -> n++
            :: else -> break
            od;
            if
            :: n < W && !driving[n] -> listed[n] = false; nwaiters--; word[n] = PROMOTED
            :: else -> skip
            fi;
            n = 0
        }
    :: else -> skip
    fi
}

/* What epoll_wait() took, then posts; then tell. */
inline handle(n, yes, t, b)
{
    atomic {
        items = items + inbox;
        given = given + inbox;
        yes = yes || (inbox > 0);
        inbox = 0;
        if
        :: yes -> moved = true
        :: else -> skip
        fi
    }
    if
    :: yes -> notify(n, t, b)
    :: else -> skip
    fi
}

inline look(yes)
{
    edge = false;
    items = items + fd;
    given = given + fd;
    yes = (fd > 0);
    fd = 0
}

inline turn(n, yes, t, b)
{
    atomic { look(yes) }
    handle(n, yes, t, b)
}

inline leave(n, t, b)
{
#ifdef BUG_LEAVE_CHECK
    b = (nwaiters > 0);
#endif
    atomic { drivers--; token = FREE }
#ifdef MANUAL
    hot = false;
    if
    :: inbox > 0 -> edge = true
    :: else -> skip
    fi;
    if
#ifdef BUG_LEAVE_CHECK
    :: b -> promote(n)
#endif
#if !defined(BUG_LEAVE_CHECK) && !defined(BUG_PROMOTE)
    :: true -> promote(n)
#else
    :: else -> skip
#endif
    fi
#endif
#ifdef THREAD
    promote(n);
#ifdef BUG_AWAIT
    skip
#else
    token_asleep = false
#endif
#endif
#ifdef AUTO
    if
    :: nwaiters > 0 || HAS_WORK ->
        hot = false;
        keeper_arm(t, b);
#ifndef BUG_BUSY
        if
        :: b -> promote(n)
        :: else -> skip
        fi;
#endif
        if
#ifndef BUG_LEAVE_INBOX
        :: inbox > 0 -> edge = true
#endif
        :: else -> skip
        fi
    :: else ->
        if
        :: keeper == OFF -> keeper_tick()
        :: else -> skip
        fi
    fi;
    b = false
#endif
}

/* `yes`: the condition held already. */
inline enlist(w, drives, yes)
{
    atomic {
        !lock;
        lock = true;
        driving[w] = drives;
        word[w] = ASLEEP;
        nwaiters++
    }
    atomic {
        if
#ifndef BUG_ENLIST_CHECK
        :: items > 0 -> items--; got++; nwaiters--; yes = true
#endif
        :: else -> listed[w] = true; yes = false
        fi;
        lock = false
    }
}

inline delist(w, value)
{
    atomic {
        !lock;
        value = word[w];
        if
        :: value == ASLEEP -> listed[w] = false; nwaiters--
        :: else -> skip
        fi;
        word[w] = ASLEEP;
        driving[w] = false
    }
}

/* Holding the token; `nowait` was found before SLEEP (a planted fault) or is found after it. */
inline sleep(nowait, checks_inbox, the_word, may_end, n, yes, t, b)
{
    token = SLEEP;
    if
    :: checks_inbox && HAS_WORK -> nowait = true
    :: else -> skip
    fi;
    if
    :: the_word != ASLEEP -> nowait = true
    :: else -> skip
    fi;
    atomic {
        nowait || LOOP_READY || may_end;
        nowait = false;
        look(yes)
    }
    token = RUN;
    yes = true; /* it tells after every sleep */
    handle(n, yes, t, b)
}

#ifdef TIMED
#define MAY_TIME_OUT (_pid == 0)
#else
#define MAY_TIME_OUT false
#endif

#ifdef BUG_SLEEP_CHECK
#define CHECKS_INBOX false
#else
#define CHECKS_INBOX true
#endif
#ifdef BUG_WORD_CHECK
#define CHECKED_WORD ASLEEP
#else
#define CHECKED_WORD word[_pid]
#endif

active [W] proctype waiter()
{
    byte gets, n, t;
    bool yes, b, late, nowait, claimed;

    do
    :: gets < GETS ->
        do
        :: true -> /* room_wait() */
            take_token(yes);
            if
            :: yes -> /* room_drive() */
                stand_down();
                do
                :: true ->
                    atomic {
                        if
                        :: items > 0 -> items--; got++; claimed = true; break
                        :: else -> skip
                        fi
                    }
                    turn(n, yes, t, b);
#ifdef HOT
                    hot = true; /* it spins */
#endif
                    if
                    :: yes -> goto next_look
                    :: !yes && MAY_TIME_OUT -> late = true; break
                    :: !yes -> skip
                    fi;
                    /* drive_sleep() */
                    hot = false;
                    enlist(_pid, true, claimed);
                    if
                    :: claimed -> break
                    :: else -> skip
                    fi;
#ifdef BUG_SLEEP_CHECK
                    nowait = HAS_WORK;
#endif
#ifdef BUG_WORD_CHECK
                    nowait = (word[_pid] != ASLEEP);
#endif
                    sleep(nowait, CHECKS_INBOX, CHECKED_WORD, MAY_TIME_OUT, n, yes, t, b);
                    delist(_pid, t);
                    claimed = (t == READY);
                    t = 0;
                    if
                    :: claimed -> break
                    :: else -> skip
                    fi;
next_look:          skip
                od;
                leave(n, t, b)
            :: else -> /* room_follow() */
                enlist(_pid, false, claimed);
                if
                :: claimed -> skip
                :: else ->
                    if
#ifndef BUG_FOLLOW_CHECK
                    :: token == FREE -> skip
                    :: token != FREE ->
#else
                    :: true ->
#endif
                        if
                        :: word[_pid] != ASLEEP -> skip
                        :: MAY_TIME_OUT -> late = true
                        fi
                    fi;
                    delist(_pid, t);
                    claimed = (t == READY);
                    if
#ifndef BUG_LATE
                    :: late && t == PROMOTED -> promote(n)
#endif
                    :: else -> skip
                    fi;
                    t = 0
                fi
            fi;
            if
            :: claimed || late -> break
            :: else -> skip
            fi
        od;
        claimed = false;
        late = false;
        yes = false;
        gets++
    :: else -> break
    od;
    done++
}

/* It may wait for a lock that the last waiter holds. */
inline slow_callback()
{
    if
    :: true -> done == W
    :: true -> skip
    fi
}

#ifdef CALLBACK
#define CALLS_BACK true
#else
#define CALLS_BACK false
#endif

#ifdef AUTO
inline keeper_enter(from, yes)
{
    atomic {
        !keeper_lock;
        yes = (keeper == from);
        if
        :: yes -> keeper = BUSY
        :: else -> skip
        fi
    }
}

inline keeper_drive()
{
    take_token(yes);
    if
    :: yes ->
        turn(n, yes, t, b);
        hot = false;
        atomic { drivers--; token = FREE };
        promote(n)
    :: else -> skip
    fi;
    if
    :: CALLS_BACK && !called -> called = true; slow_callback()
    :: true -> skip
    fi;
    atomic { !keeper_lock; keeper_lock = true; keeper = ARMED }
    arm_and_unlock();
    if
#ifndef BUG_REST
    :: HAS_WORK -> edge = true
#endif
    :: else -> skip
    fi
}

inline keeper_on_tick()
{
    m = moved;
    t = token;
    if
    :: hot -> keeper_enter(ARMED, yes)
    :: else -> yes = false
    fi;
    if
    :: yes -> m = false; t = FREE
    :: else -> keeper_enter(TICK, yes)
    fi;
    if
    :: !yes -> skip
    :: yes && !m && t == FREE -> keeper_drive()
    :: yes && !m && t == SLEEP ->
        keeper = OFF;
        if
#ifndef BUG_OFF
        :: token == FREE -> keeper_tick()
#endif
        :: else -> skip
        fi
    :: else ->
        moved = false;
        atomic { !keeper_lock; keeper = TICK; timer = true }
        if
        :: token == FREE ->
            if
            :: nwaiters > 0 || HAS_WORK -> keeper_arm(t, b)
            :: else -> skip
            fi
        :: else -> skip
        fi
    fi;
    m = false;
    t = 0
}

active proctype keeper_auto()
{
    byte n, t;
    bool yes, b, m, called;

    do
    :: stop -> break
    :: else ->
        if
        :: atomic { timer -> timer = false } keeper_on_tick()
        :: atomic { watch && LOOP_READY -> watch = false }
            keeper_enter(ARMED, yes);
            if
            :: yes -> keeper_drive()
            :: else -> skip
            fi
        fi
    od
}
#endif

#ifdef THREAD
active proctype keeper_thread()
{
    byte n, t, k;
    bool yes, b, called, nowait;

    drivers++;
    do
    :: stop -> break
    :: else ->
        turn(n, yes, t, b);
        hot = false;
        if
        :: !yes -> sleep(nowait, true, ASLEEP, false, n, yes, t, b)
        :: else -> skip
        fi;
        if
        :: CALLS_BACK && !called ->
            called = true;
            leave(n, t, b);
            slow_callback();
            do
            :: true ->
                take_token(yes);
                if
                :: yes -> break
                :: else -> skip
                fi;
                k = token;
                atomic {
                    if
                    :: k != FREE && token == k -> token_asleep = true
                    :: else -> skip
                    fi
                }
                !token_asleep
            od
        :: true -> skip
        fi
    od;
    atomic { drivers--; token = FREE }
}
#endif

/* ---- where items come from ---- */

#if FDS > 0
active proctype net()
{
    byte i;

    do
    :: atomic { i < FDS - 1 -> fd++; i++ }
    :: atomic { i == FDS - 1 -> fd++; producers--; break }
    od
}
#endif

#if POSTS > 0
active proctype poster()
{
    byte i, t;
    bool b;

    do
    :: i < POSTS ->
        atomic { t = (inbox == 0); inbox++; i++ }
        if
        :: t -> kick(t, b)
        :: else -> skip
        fi
    :: else -> break
    od;
    producers--
}
#endif

#if FOREIGN > 0
active proctype foreign()
{
    byte i, n, t;
    bool b;

    do
    :: i < FOREIGN ->
        atomic { items++; given++; i++ }
        notify(n, t, b)
    :: else -> break
    od;
    producers--
}
#endif

active proctype closer()
{
    byte t;
    bool b;

    done == W;
    producers == 0; /* nobody posts to a room that closes */
#ifdef MANUAL
    assert(inbox == 0 || LOOP_READY); /* the program's own loop sees it */
#else
    given == FDS + POSTS + FOREIGN; /* somebody drives also when nobody waits */
#endif
    assert(got + items == given);
#ifndef TIMED
    assert(got == W * GETS);
#endif
    assert(nwaiters == 0);
    stop = true;
#ifdef AUTO
    timer = true;
#endif
    kick(t, b)
}

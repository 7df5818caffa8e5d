/* A sleep in the transport's queue (core/loop_poll.c): one driver, who sleeps there or in epoll, and
 * those who have something for him: POSTS posts, a timer, a descriptor, the poller itself.
 *
 * Any of them may be missing, for each that comes gets him out of where he sleeps.
 *
 * Checked in every order of steps: he sees all that comes, that is, never sleeps on while something
 * is there for him (a state from which nobody moves).
 *
 * The clock is not modelled: a timer that is set is due, and whoever knows of it does not sleep.
 *
 * Planted faults, each of which the check must find:
 *   BUG_UNTIL   the driver reads the earliest timer before he says that he polls
 *   BUG_WOKEN   a wake-up that finds nobody polling is not kept
 *   BUG_ENTER   the driver does not look whether he was woken before
 *   BUG_CHECK   the driver does not look at the inbox after he said that he sleeps
 *   BUG_WATCH   who adds a descriptor wakes first and counts it then */

#ifndef POSTS
#define POSTS 1
#endif

#define RUN 0
#define SLEEP 1
#define KICKED 2

byte token = RUN;
byte inbox;           /* posts in it */
bool due, until;      /* the timer is set; the poll goes on for ever unless it is woken */
bool has_poller, nfd; /* nfd: a descriptor is watched */
bool woken, polling;  /* under the lock: what is done there is one step */
bool signal;  /* the poller's own */
bool kick;    /* the eventfd, as epoll sees it */
bool ready;   /* the descriptor, as epoll sees it */
byte posts;   /* that ran */
bool timer, descriptor; /* were handled, or do not come */
byte coming;            /* posts that come */

inline wake()
{
    if
    :: has_poller ->
        atomic {
#ifdef BUG_WOKEN
            woken = woken || polling;
#else
            woken = true;
#endif
            signal = signal || polling
        }
    :: else -> skip
    fi;
    kick = true
}

proctype poster()
{
    bool first;

    atomic { first = inbox == 0; inbox++ }
    if
    :: first ->
        if
        :: atomic { token == SLEEP -> token = KICKED }; wake()
        :: token != SLEEP -> skip
        fi
    :: else -> skip
    fi
}

proctype timer_setter()
{
    due = true;
    if
    :: until -> wake()
    :: else -> skip
    fi
}

proctype watcher()
{
#ifdef BUG_WATCH
    wake();
    nfd = true
#else
    nfd = true;
    wake()
#endif
    ;
    ready = true
}

proctype setter()
{
    has_poller = true;
    wake()
}

/* What epoll_wait() takes. */
inline look()
{
    atomic { kick = false; seen = ready && nfd }
}

inline epoll_sleep(at_once)
{
    if
    :: at_once -> look()
    :: else ->
        atomic { kick || due || (ready && nfd) -> look() }
    fi
}

inline poll_sleep(at_once)
{
    atomic {
        entered = has_poller && !nfd;
#ifndef BUG_ENTER
        was_woken = woken;
#endif
        woken = false;
        polling = entered
    }
    if
    :: entered && !was_woken && !at_once ->
#ifdef BUG_UNTIL
        knows = due;
        until = true;
#else
        until = true;
        knows = due;
#endif
        knows || signal; /* nothing else ends it */
        until = false
    :: else -> skip
    fi;
    if
    :: entered ->
        atomic {
            polling = false;
            was_woken = was_woken || woken;
            woken = false;
            signal = false
        }
    :: else -> skip
    fi
}

inline handle()
{
    if
    :: seen -> descriptor = true; ready = false; seen = false
    :: else -> skip
    fi;
    if
    :: atomic { due -> due = false }; timer = true
    :: else -> skip
    fi;
    atomic { posts = posts + inbox; inbox = 0 }
}

active proctype driver()
{
    bool at_once, entered, was_woken, knows, seen;

    if
    :: run timer_setter()
    :: timer = true
    fi;
    if
    :: run watcher()
    :: descriptor = true
    fi;
    if
    :: run setter()
    :: has_poller = true
    :: skip
    fi;
    do
    :: coming < POSTS -> run poster(); coming++
    :: break
    od;
    do
    :: posts == coming && timer && descriptor -> break
    :: else ->
        token = SLEEP;
#ifdef BUG_CHECK
        at_once = false;
#else
        at_once = inbox != 0;
#endif
        entered = false;
        was_woken = false;
        if
        :: has_poller && !nfd -> poll_sleep(at_once)
        :: else -> skip
        fi;
        if
        :: !entered -> epoll_sleep(at_once)
        :: entered && was_woken -> look()
        :: else -> skip
        fi;
        token = RUN;
        handle()
    od
}

/* A strand that joins another (core/strand.h): strand A of a link, strand B of the peer that it
 * becomes a part of.  COMERS threads bring JOBS pieces of the link's work each, one more thread
 * brings the peer's.  The first piece of the first comer asks for the join; the settle makes it,
 * and runs one more piece inside B, which welcomes the link.
 *
 * Checked in every order of steps: the link's work and the peer's run one at a time once they have
 * joined; the link's runs inside A before and inside B afterwards, in the order in which each comer
 * brought it; nothing is left behind.
 *
 * Planted faults, each of which the check must find:
 *   BUG_POINTER  who finds the other strand's name goes there, also before A is left
 *   BUG_FREE     A is left as if it had not joined
 *   BUG_DRAIN    what was left for A is run inside A
 *   BUG_LEAVE    the owner of A says JOINED without comparing */

#ifndef COMERS
#define COMERS 2
#endif
#ifndef JOBS
#define JOBS 2
#endif
#define LINK (COMERS * JOBS) /* the first so many are the link's, the next is its welcome */
#define WELCOME LINK
#define ALL (LINK + 1 + JOBS)

#define FREE 0
#define OWNED 1
#define LIST 2
#define JOINED 3

#define A 0
#define B 1
#define NOWHERE 2

byte word[2];
byte listA[ALL], nlistA, listB[ALL], nlistB;
bool joined, asked;
byte busy[2];          /* ghosts: who runs work, by strand, ... */
byte todo[COMERS + 1]; /* which job of each comer is next, ... */
byte ran, gone;

inline job_begin(job, at)
{
    atomic {
        busy[at]++;
        assert(busy[at] == 1);
        assert(!joined || busy[A] + busy[B] == 1);
        if
        :: job < LINK ->
            assert(at == (joined -> B : A));
            assert(todo[(job) / JOBS] == (job) % JOBS);
            todo[(job) / JOBS]++;
            if
            :: job == 0 -> asked = true
            :: else -> skip
            fi
        :: job > WELCOME ->
            assert(at == B && todo[COMERS] == job - WELCOME - 1);
            todo[COMERS]++
        :: else -> assert(at == B && joined)
        fi;
        ran++
    }
}

inline do_job(job, at)
{
    job_begin(job, at);
    busy[at]--
}

#define PUSH_A(job) listA[nlistA] = job; nlistA++; word[A] = LIST
#define PUSH_B(job) listB[nlistB] = job; nlistB++; word[B] = LIST

#define TAKE(list, nlist, mine, taken, w) \
    atomic { \
        taken = nlist; \
        nlist = 0; \
        k = 0; \
        do \
        :: k < taken -> mine[k] = list[k]; list[k] = 0; k++ \
        :: else -> break \
        od; \
        k = 0; \
        word[w] = OWNED \
    }

/* Inside B until it is left. */
inline leave_B()
{
    do
    :: true ->
        if
        :: word[B] != OWNED ->
            TAKE(listB, nlistB, mineB, takenB, B);
            j = 0;
            do
            :: j < takenB -> do_job(mineB[j], B); j++
            :: else -> break
            od
        :: else -> skip
        fi;
        atomic {
            if
            :: word[B] == OWNED -> word[B] = FREE; break
            :: else -> skip
            fi
        }
    od
}

inline run_in_B(job)
{
    atomic {
        if
        :: word[B] == FREE -> word[B] = OWNED; entered = true
        :: else -> PUSH_B(job); entered = false
        fi
    }
    if
    :: entered -> do_job(job, B); leave_B()
    :: else -> skip
    fi
}

inline drain_A()
{
    TAKE(listA, nlistA, mineA, takenA, A);
    i = 0;
    do
    :: i < takenA ->
        if
#ifndef BUG_DRAIN
        :: joined -> run_in_B(mineA[i])
        :: !joined -> do_job(mineA[i], A)
#else
        :: true -> do_job(mineA[i], A)
#endif
        fi;
        i++
    :: else -> break
    od
}

inline settle_A()
{
    if
    :: asked -> asked = false; joined = true; run_in_B(WELCOME)
    :: else -> skip
    fi
}

inline leave_A()
{
    do
    :: true ->
        if
        :: word[A] != OWNED -> drain_A()
        :: else -> skip
        fi;
        settle_A();
        atomic {
            if
#ifdef BUG_LEAVE
            :: joined -> word[A] = JOINED; break
            :: !joined && word[A] == OWNED -> word[A] = FREE; break
#else
            :: word[A] == OWNED ->
#if defined(BUG_FREE) || defined(BUG_POINTER)
                word[A] = FREE;
#else
                word[A] = (joined -> JOINED : FREE);
#endif
                break
#endif
            :: else -> skip
            fi
        }
    od
}

/* Work for the link. */
inline run_in_A(job)
{
    atomic {
        if
#ifdef BUG_POINTER
        :: joined -> inside = B
        :: !joined && word[A] == FREE -> word[A] = OWNED; inside = A
        :: !joined && word[A] != FREE -> PUSH_A(job); inside = NOWHERE
#else
        :: word[A] == FREE -> word[A] = OWNED; inside = A
        :: word[A] == JOINED -> inside = B
        :: else -> PUSH_A(job); inside = NOWHERE
#endif
        fi
    }
    if
    :: inside == A -> do_job(job, A); leave_A()
    :: inside == B -> run_in_B(job)
    :: else -> skip
    fi
}

active [COMERS] proctype comer()
{
    byte n, i, j, k, takenA, takenB, mineA[ALL], mineB[ALL], inside;
    bool entered;

    do
    :: n < JOBS -> run_in_A(_pid * JOBS + n); n++
    :: else -> break
    od;
    gone++
}

active proctype peer()
{
    byte n, j, k, takenB, mineB[ALL];
    bool entered;

    do
    :: n < JOBS -> run_in_B(WELCOME + 1 + n); n++
    :: else -> break
    od;
    gone++
}

active proctype judge()
{
    gone == COMERS + 1;
    assert(word[B] == FREE && ran == ALL);
    assert(joined)
}

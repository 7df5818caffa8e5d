/* The word of a strand (core/strand.h): COMERS threads bring JOBS pieces of work each.
 * What becomes of it when a strand joins another is in join.pml.
 *
 * Checked in every order of steps: one is inside at a time; each comer's work runs once and in its
 * order; what ran is settled before the strand is left; nothing is left behind.
 *
 * Planted faults, each of which the check must find:
 *   BUG_LEAVE   the owner stores FREE instead of comparing
 *   BUG_SETTLE  what was left is run after the settling
 *   BUG_ORDER   the list is run newest first
 *   BUG_ENTER   a comer stores OWNED instead of comparing */

#ifndef COMERS
#define COMERS 3
#endif
#ifndef JOBS
#define JOBS 2
#endif
#define ALL (COMERS * JOBS)

#define FREE 0
#define OWNED 1
#define LIST 2

byte word = FREE;
byte list[ALL], nlist; /* behind the pointer, oldest first */
byte inside;           /* ghosts from here on */
byte todo[COMERS];     /* which job of each comer is to run next */
byte ran, unsettled, gone;

inline enter_as_owner()
{
    inside++;
    assert(inside == 1)
}

inline do_job(job)
{
    atomic {
        assert(inside == 1);
        assert(todo[(job) / JOBS] == (job) % JOBS);
        todo[(job) / JOBS]++;
        ran++;
        unsettled++
    }
}

/* CAS FREE -> OWNED, or CAS of the list: both check what they saw, so each is one step. */
inline enter_or_push(job)
{
#ifdef BUG_ENTER
    byte seen = word;
#endif
    atomic {
        if
#ifdef BUG_ENTER
        :: seen == FREE -> word = OWNED; entered = true
        :: seen != FREE && word == FREE -> word = OWNED; entered = true
        :: seen != FREE && word != FREE -> list[nlist] = job; nlist++; word = LIST; entered = false
#else
        :: word == FREE -> word = OWNED; entered = true
        :: else -> list[nlist] = job; nlist++; word = LIST; entered = false
#endif
        fi;
        if
        :: entered -> enter_as_owner()
        :: else -> skip
        fi
    }
}

inline drain()
{
    atomic {
        i = 0;
        taken = nlist;
        do
        :: i < taken -> mine[i] = list[i]; i++
        :: else -> break
        od;
        nlist = 0;
        word = OWNED
    }
    i = 0;
    do
    :: i < taken ->
#ifdef BUG_ORDER
        do_job(mine[taken - 1 - i]);
#else
        do_job(mine[i]);
#endif
        i++
    :: else -> break
    od
}

inline leave()
{
    do
    :: true ->
#ifdef BUG_SETTLE
        unsettled = 0;
#endif
        if
        :: word != OWNED -> drain()
        :: else -> skip
        fi;
#ifndef BUG_SETTLE
        unsettled = 0;
#endif
#ifdef BUG_LEAVE
        atomic {
            inside--;
            assert(unsettled == 0);
            word = FREE;
            break
        }
#else
        atomic {
            if
            :: word == OWNED ->
                assert(unsettled == 0);
                inside--;
                word = FREE;
                break
            :: else -> skip
            fi
        }
#endif
    od
}

active [COMERS] proctype comer()
{
    byte n = 0, i, taken, mine[ALL];
    bool entered;

    do
    :: n < JOBS ->
        enter_or_push(_pid * JOBS + n);
        if
        :: entered ->
            do_job(_pid * JOBS + n);
            leave()
        :: else -> skip
        fi;
        n++
    :: else -> break
    od;
    gone++
}

active proctype judge()
{
    gone == COMERS;
    assert(word == FREE);
    assert(ran == ALL)
}

/* Who drives the loop: the token, the waiters, the keeper, and how long to spin.
 *
 * A room belongs to one loop.  Threads that wait in it have a condition; one of them holds the
 * token and drives the loop for all.  docs/waiting.md tells the whole story. */
#ifndef NQ_CORE_WAIT_H
#define NQ_CORE_WAIT_H

#include "core/base.h"
#include "core/list.h"
#include "core/loop.h"

struct nqi_room;

enum nqi_room_mode {
    NQI_ROOM_AUTO,   /* callers drive; the keeper when none has for a while */
    NQI_ROOM_THREAD, /* the library's thread drives always, but while it runs callbacks */
    NQI_ROOM_MANUAL, /* no thread: callers and nqi_room_poll() only */
};

#define NQI_SPIN_AUTO INT64_C(-1)

/* A condition, and its claim: answering true takes what was waited for (a message, say), and
 * it is not asked again.  Called by the waiting thread, or by another under the room's lock; never
 * by both at once.  Must not block or call the room. */
typedef bool (*nqi_ready_fn)(void *arg);

struct nqi_room_counts {
    uint64_t turns, sleeps, kicks, spins_paid, spins_lost, keeper_ticks, keeper_turns;
};

/* @param loop     borrowed; its kicks are the room's from now on
 * @param spin_ns  0 = never spin, NQI_SPIN_AUTO, else at most so long
 * @param ret      [out] owned, ends with nqi_room_free()
 * @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_SYS (no thread) */
NQ_MUST_CHECK nq_err nqi_room_new(struct nqi_loop *loop, enum nqi_room_mode mode, int64_t spin_ns,
                                  struct nqi_room **ret);

/* End the keeper; nobody waits any more.  Joined rooms end together: the first of these calls ends
 * the keepers of all.  NULL is allowed.  Not from a callback.  Blocks: until the keeper ended. */
void nqi_room_free(struct nqi_room *room);

/* Conditions in `other` depend on what happens in `room` too, and the reverse.  Before both are
 * shared. */
void nqi_room_join(struct nqi_room *room, struct nqi_room *other);

/* Wait until `ready(arg)`, driving the loop when nobody else does.
 * @param timeout_ns  0 = one turn at the most, NQ_FOREVER (-1), else nanoseconds
 * @return NQ_OK, NQ_AGAIN (not within the time), NQ_ERR_DEADLOCK (it would wait inside a callback)
 * Thread: any.  Blocks: up to `timeout_ns`. */
NQ_MUST_CHECK nq_err nqi_room_wait(struct nqi_room *room, nqi_ready_fn ready, void *arg,
                                   int64_t timeout_ns);

/* Threads wait here to be told, so others may ask their conditions now.  While there are none, the
 * condition of a thread that drives is its own.  Thread: any. */
bool nqi_room_anybody(const struct nqi_room *room);

/* Something changed that conditions ask for: wake those that hold now.  Outside of strands.
 * Thread: any. */
void nqi_room_notify(struct nqi_room *room);

/* The loop has work that did not come through a descriptor (a post, a callback): see to a turn.
 * Thread: any, also a transport's. */
void nqi_room_kick(struct nqi_room *room);

/* A user's callback: run outside of strand and token, one at a time in the room, soon. */
struct nqi_callback {
    struct nqi_node node;
    void (*run)(struct nqi_callback *callback); /* may free it */
};
void nqi_room_defer(struct nqi_room *room, struct nqi_callback *callback);

/* The calling thread runs a callback of any room. */
bool nqi_room_in_callback(void);

/* One turn, when nobody drives, and no callbacks: for a thread that makes work faster than it
 * leaves. Thread: any, outside of strands.  Blocks: no. */
void nqi_room_help(struct nqi_room *room);

/* The same, and bytes are left that wait for more: when nobody drives within about two
 * milliseconds, the keeper does. */
void nqi_room_attend(struct nqi_room *room);

/* Do what is to be done now; manual mode's progress.  Thread: any.  Blocks: no. */
void nqi_room_poll(struct nqi_room *room);

void nqi_room_count(const struct nqi_room *room, struct nqi_room_counts *ret);

#endif

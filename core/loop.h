/* The loop: descriptors, timers and posts, each handled inside the strand of its serial.
 *
 *     epoll, timerfd --+
 *     posts (inbox) ---+--> nqi_loop_turn() --> strand --> callback
 *
 * One thread at a time calls nqi_loop_turn(): the holder of the token (wait.h).  Everything else is
 * legal on the threads that its comment names.  A strand that is taken keeps the callback and
 * runs it on its owner's thread.
 *
 * Lock: `lock` guards the table of watches and the timers.  It is a leaf: nothing is called while
 * it is held. */
#ifndef NQ_CORE_LOOP_H
#define NQ_CORE_LOOP_H

#include "core/base.h"
#include "core/hot.h"
#include "core/strand.h"

struct nqi_loop;
struct nqi_watch; /* a descriptor or a timer */

/* Where callbacks run: the strand, and the loop that brings them.  Embedded in endpoints and
 * links; plugins see it as nqt_serial. */
struct nqi_serial {
    struct nqi_strand *strand;    /* one reference */
    struct nqi_loop *loop;        /* borrowed */
    struct nqi_request *requests; /* the transport's: open questions to the resolver; in serial */
};

/* Called on a foreign thread after it left a post: see that a turn comes soon. */
typedef void (*nqi_kick_fn)(void *arg);

/* @param ret [out] owned, ends with nqi_loop_free().  @return NQ_OK, NQ_ERR_SYS, NQ_ERR_NOMEM. */
NQ_MUST_CHECK nq_err nqi_loop_new(struct nqi_loop **ret);

/* All watches are gone; posts that are left run first.  NULL is allowed. */
void nqi_loop_free(struct nqi_loop *loop);

/* Before the loop is shared. */
void nqi_loop_on_kick(struct nqi_loop *loop, nqi_kick_fn kick, void *arg);

/* Wait up to `timeout_ns` (0 = look, NQI_NEVER = until something happens) for up to 64 events.
 * @return how many came, for nqi_loop_handle(), which must follow.
 * Thread: the token's holder.  Blocks: up to `timeout_ns`. */
int nqi_loop_sleep(struct nqi_loop *loop, int64_t timeout_ns);

/* Handle those events, then due timers, then posts.  @return how many things were handled.
 * Thread: the token's holder.  Blocks: no. */
unsigned nqi_loop_handle(struct nqi_loop *loop, int events);

/* Look and handle, without waiting. */
static inline unsigned nqi_loop_turn(struct nqi_loop *loop)
{
    return nqi_loop_handle(loop, nqi_loop_sleep(loop, 0));
}

/* The same for the hot links and posts only: epoll and the clock are not asked, timers wait for the
 * next whole turn. */
unsigned nqi_loop_turn_hot(struct nqi_loop *loop);

/* A post waits for a turn. */
bool nqi_loop_pending(const struct nqi_loop *loop);

/* End the nqi_loop_sleep() that goes on, or the next one, at once.  Thread: any. */
void nqi_loop_wake(struct nqi_loop *loop);

/* The loop's own set: readable while a turn has something to do. */
int nqi_loop_epoll(const struct nqi_loop *loop);

/* A descriptor for the user's own event loop: readable while a turn has something to do, or while
 * it is held.  Made at the first call; -1 when the system refuses.  Thread: any. */
int nqi_loop_fd(struct nqi_loop *loop);

/* Keep nqi_loop_fd() readable (or not) whatever else happens; who sleeps in the loop does not
 * notice. Thread: any. */
void nqi_loop_hold_readable(struct nqi_loop *loop, bool on);

/* The links that a spinning driver looks at directly. */
struct nqi_hot_set *nqi_loop_hot(struct nqi_loop *loop);

int64_t nqi_now(void); /* ns on CLOCK_MONOTONIC */

/* The same as the system last noted it: some milliseconds old, and much cheaper to ask.  For what
 * is counted in tens of milliseconds. */
int64_t nqi_now_rough(void);

/* ---- another sleep ---------------------------------------------------------------------- */

/* Where to sleep while no descriptor is watched, instead of in epoll: a transport's own queue. */
struct nqi_poller {
    /* Wait up to `timeout_ns` (0 = look, NQI_NEVER = for ever) and run what is to be run.  Returns
     * as soon as that has left a post. */
    void (*poll)(void *arg, int64_t timeout_ns);
    void (*wake)(void *arg); /* end the poll that goes on, or the next one.  Thread: any. */
    void *arg;
};

/* Take it, unless the loop has one.  Thread: any. */
void nqi_loop_set_poller(struct nqi_loop *loop, const struct nqi_poller *poller);

/* Forget the poller with this argument, if the loop has it.  @return false: somebody is inside of
 * it; it was woken, try again.  Thread: any, not from inside of it. */
NQ_MUST_CHECK bool nqi_loop_drop_poller(struct nqi_loop *loop, const void *arg);

/* Never take one: others wait for the loop's descriptor.  Before the loop is shared. */
void nqi_loop_keep_epoll(struct nqi_loop *loop);

/* ---- watches: inside the serial's strand only ------------------------------------------- */

/* Watch `fd`, level-triggered.  `events`: POLLIN, POLLOUT; errors and hang-ups always come; with
 * NQT_POLL_EDGE one report each time that something came, whether or not it was read.
 * The descriptor stays the caller's, who deletes the watch before closing it.
 * @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_SYS (watched already, say). */
NQ_MUST_CHECK nq_err nqi_fd_add(struct nqi_serial *serial, int fd, uint32_t events,
                                void (*fn)(void *arg, uint32_t events), void *arg,
                                struct nqi_watch **ret);
NQ_MUST_CHECK nq_err nqi_fd_mod(struct nqi_watch *watch, uint32_t events);

/* @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_timer_add(struct nqi_serial *serial, void (*fn)(void *arg), void *arg,
                                   struct nqi_watch **ret);
void nqi_timer_set(struct nqi_watch *watch, int64_t at); /* one shot; NQI_NEVER stops */

/* No callback starts after this; the watch is gone.  NULL is allowed. */
void nqi_watch_del(struct nqi_watch *watch);

/* ---- posts ------------------------------------------------------------------------------ */

/* All 0 at first; then the loop's. */
struct nqi_post {
    struct nqi_work work;
    struct nqi_post *next;
    struct nqi_strand *strand; /* one reference */
    void (*fn)(void *arg);
    void *arg;
    bool own; /* the loop allocated it */
};

/* Run fn(arg) in the serial, later.  @return NQ_OK, NQ_ERR_NOMEM.  Thread: any. */
NQ_MUST_CHECK nq_err nqi_post(struct nqi_serial *serial, void (*fn)(void *arg), void *arg);

/* The same without memory, for what must not fail: `post` is the loop's until `fn` is called. */
void nqi_post_in(struct nqi_serial *serial, struct nqi_post *post, void (*fn)(void *arg),
                 void *arg);

/* What is posted may run, and be the last of all, before the poster has kicked: until nobody is
 * about to.  Before whoever is kicked ends.  Blocks: for some microseconds. */
void nqi_loop_await_posters(struct nqi_loop *loop);

#endif

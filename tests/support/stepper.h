/* A process that is led to an exact instruction, and killed there.
 *
 *     test          orders          tracer        ptrace        program
 *     (threads,  ----------->   (a process    ------------>   (a new process for
 *      a queue)  <-----------    of its own)  <------------    each order)
 *                 arrivals
 *
 * The tracer is forked before the test has a queue, so that neither it nor a program shares
 * anything with it.  A program is one thread, and divides what it does by nqtest_step_mark():
 * window n is what follows its n-th mark.
 *
 *     survey   single steps through a window, and notes its points
 *     lead     runs to a point, by a breakpoint: a step costs 20 us, a run a few ms
 *
 * Points are the moments at which something changes for others: a system call is next, or was last;
 * the memory that the program writes for its peer (its outbox) has changed; and so many more, at
 * even distances.  All programs are forked from one process and load the same, so an instruction is
 * at the same place in each; what one does later may differ, and then a point is missed.
 *
 * Only for x86-64, see NQTEST_STEPS. */
#ifndef NQTEST_STEPPER_H
#define NQTEST_STEPPER_H

#include <stdbool.h>
#include <sys/types.h>

#ifdef __x86_64__
#define NQTEST_STEPS 1
#else
#define NQTEST_STEPS 0
#endif

struct nqtest_stepper {
    pid_t pid;
    int orders, arrivals;
};

struct nqtest_order {
    unsigned number; /* for the program */
    unsigned window;
    bool survey;    /* note the points of the window; its program is killed behind it */
    unsigned point; /* which one of the last survey */
};

struct nqtest_arrival {
    bool there; /* false: a survey, or this run did not come by; the program is killed */
    unsigned points, steps; /* of a survey */
};

/* @param program  ends by itself when it is not killed */
void nqtest_stepper_start(struct nqtest_stepper *stepper, void (*program)(unsigned number));
void nqtest_stepper_order(const struct nqtest_stepper *stepper, const struct nqtest_order *order);
/* Wait until the program stands at its point, or is dead. */
struct nqtest_arrival nqtest_stepper_arrived(const struct nqtest_stepper *stepper);
/* Kill it there; it is gone when this returns. */
void nqtest_stepper_kill(const struct nqtest_stepper *stepper);
void nqtest_stepper_end(struct nqtest_stepper *stepper);

/* Said by the program: the next window begins here. */
void nqtest_step_mark(void);

#endif

/* See stepper.h. */
#include "tests/support/stepper.h"
#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

void nqtest_step_mark(void)
{
    raise(SIGSTOP);
}

#if NQTEST_STEPS

#define OUTBOX_MAX 8192u  /* a larger mapping holds payload */
#define STEPS_MAX 300000u /* of a window; what is behind has no points */
#define POINTS_MAX 4096u
#define EVEN_POINTS 40u /* at even distances */

/* An instruction, and how many times the window comes by until it is meant. */
struct point {
    uintptr_t at;
    unsigned nth;
};

static struct {
    unsigned nstep, npoint;
    uintptr_t at[STEPS_MAX]; /* the instruction that each step took */
    bool marked[STEPS_MAX];  /* before it something had changed, or would */
    struct point points[POINTS_MAX];
} survey;

struct traced {
    pid_t pid;
    void *outbox; /* in the program; NULL = none yet */
    size_t len;
    uint8_t seen[OUTBOX_MAX];
};

/* ---- leading a process ------------------------------------------------------------------- */

static void traced_kill(const struct traced *traced)
{
    kill(traced->pid, SIGKILL);
    waitpid(traced->pid, NULL, 0);
}

/* Let it go on until it stops.  @return it stands at a mark */
static bool traced_go(const struct traced *traced, enum __ptrace_request how)
{
    int status;

    if (ptrace(how, traced->pid, NULL, NULL) || waitpid(traced->pid, &status, 0) != traced->pid ||
        !WIFSTOPPED(status) || WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGABRT)
        _exit(2); /* the program failed by itself */
    return WSTOPSIG(status) == SIGSTOP;
}

static void *traced_pc_place(void)
{
    return (void *)offsetof(struct user_regs_struct, rip);
}

static uintptr_t traced_pc(const struct traced *traced)
{
    return (uintptr_t)ptrace(PTRACE_PEEKUSER, traced->pid, traced_pc_place(), NULL);
}

static long traced_code(const struct traced *traced, uintptr_t at)
{
    return ptrace(PTRACE_PEEKTEXT, traced->pid, (void *)at, NULL);
}

static void traced_new(struct traced *traced, void (*program)(unsigned number),
                       const struct nqtest_order *order)
{
    int status;

    traced->pid = fork();
    if (!traced->pid) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            _exit(1);
        raise(SIGSTOP); /* until the options are set */
        program(order->number);
        _exit(0);
    }
    if (traced->pid < 0 || waitpid(traced->pid, &status, 0) != traced->pid || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, traced->pid, NULL, (void *)PTRACE_O_EXITKILL))
        _exit(2);
    for (unsigned marks = 0; marks <= order->window;)
        marks += traced_go(traced, PTRACE_CONT);
}

/* ---- the survey -------------------------------------------------------------------------- */

static void traced_find_outbox(struct traced *traced)
{
    unsigned long from, to;
    char line[512], access[5];
    FILE *maps;

    snprintf(line, sizeof(line), "/proc/%ld/maps", (long)traced->pid);
    maps = fopen(line, "re");
    traced->outbox = NULL;
    while (maps && fgets(line, sizeof(line), maps))
        if (strstr(line, "memfd:netqueue") &&
            sscanf(line, "%lx-%lx %4s", &from, &to, access) == 3 && access[1] == 'w' &&
            to - from <= OUTBOX_MAX) {
            traced->outbox = (void *)from;
            traced->len = to - from;
        }
    if (maps)
        fclose(maps);
}

/* The outbox is not as it was when this was last asked. */
static bool traced_wrote(struct traced *traced)
{
    uint8_t now[OUTBOX_MAX];
    struct iovec here = {now, traced->len}, there = {traced->outbox, traced->len};

    if (!traced->outbox || process_vm_readv(traced->pid, &here, 1, &there, 1, 0) < 0 ||
        memcmp(now, traced->seen, traced->len) == 0)
        return false;
    memcpy(traced->seen, now, traced->len);
    return true;
}

/* One step.  @return it was the last one of the window */
static bool survey_step(struct traced *traced)
{
    unsigned n = survey.nstep++;
    bool call, over;

    survey.at[n] = traced_pc(traced);
    call = (traced_code(traced, survey.at[n]) & 0xffff) == 0x050f;
    over = traced_go(traced, PTRACE_SINGLESTEP);
    survey.marked[n] |= call;
    survey.marked[n + 1] = call || traced_wrote(traced);
    if (call)
        traced_find_outbox(traced);
    return over;
}

static void survey_add(unsigned step)
{
    struct point *point = &survey.points[survey.npoint++];

    if (survey.npoint > POINTS_MAX)
        _exit(3);
    *point = (struct point){.at = survey.at[step]};
    for (unsigned i = 0; i <= step; i++)
        point->nth += survey.at[i] == point->at;
}

static void survey_run(struct traced *traced)
{
    survey.nstep = survey.npoint = 0;
    survey.marked[0] = true;
    traced_find_outbox(traced);
    (void)traced_wrote(traced);
    while (survey.nstep < STEPS_MAX - 1 && !survey_step(traced))
        ;
    for (unsigned i = 0; i < survey.nstep; i++)
        if (survey.marked[i] || i % (survey.nstep / EVEN_POINTS + 1) == 0)
            survey_add(i);
    traced_kill(traced);
}

/* ---- to a point -------------------------------------------------------------------------- */

/* False: the window was over before. */
static bool lead_to(const struct traced *traced, const struct point *point)
{
    long code = traced_code(traced, point->at);
    void *at = (void *)point->at;

    for (unsigned n = 1;; n++) {
        ptrace(PTRACE_POKETEXT, traced->pid, at, (void *)((code & ~0xffL) | 0xcc));
        if (traced_go(traced, PTRACE_CONT))
            return false;
        ptrace(PTRACE_POKETEXT, traced->pid, at, (void *)code);
        ptrace(PTRACE_POKEUSER, traced->pid, traced_pc_place(), at);
        if (n == point->nth)
            return true;
        if (traced_go(traced, PTRACE_SINGLESTEP))
            return false;
    }
}

/* ---- the tracer -------------------------------------------------------------------------- */

/* The two take turns, so they need one processor, and wake each other sooner on one. */
static void tracer_pin(void)
{
    int cpu = sched_getcpu();
    cpu_set_t set;

    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET((size_t)cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static struct nqtest_arrival tracer_obey(struct traced *traced, const struct nqtest_order *order)
{
    struct nqtest_arrival arrival = {.there = false};

    if (order->survey) {
        survey_run(traced);
        arrival.points = survey.npoint;
        arrival.steps = survey.nstep;
        return arrival;
    }
    arrival.there = lead_to(traced, &survey.points[order->point]);
    if (!arrival.there)
        traced_kill(traced);
    return arrival;
}

static _Noreturn void tracer_run(int orders, int arrivals, void (*program)(unsigned number))
{
    struct nqtest_order order;
    char byte = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    tracer_pin();
    while (read(orders, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
        struct traced traced = {.pid = 0};
        struct nqtest_arrival arrival;

        traced_new(&traced, program, &order);
        arrival = tracer_obey(&traced, &order);
        if (write(arrivals, &arrival, sizeof(arrival)) != (ssize_t)sizeof(arrival))
            _exit(2);
        if (!arrival.there)
            continue;
        if (read(orders, &byte, 1) != 1)
            _exit(2);
        traced_kill(&traced);
        if (write(arrivals, &byte, 1) != 1)
            _exit(2);
    }
    _exit(0);
}

/* ---- the test's side --------------------------------------------------------------------- */

void nqtest_stepper_start(struct nqtest_stepper *stepper, void (*program)(unsigned number))
{
    int orders[2], arrivals[2];

    ck_assert_int_eq(pipe(orders), 0);
    ck_assert_int_eq(pipe(arrivals), 0);
    stepper->pid = fork();
    ck_assert_int_ge(stepper->pid, 0);
    if (!stepper->pid) {
        close(orders[1]);
        close(arrivals[0]);
        tracer_run(orders[0], arrivals[1], program);
    }
    close(orders[0]);
    close(arrivals[1]);
    stepper->orders = orders[1];
    stepper->arrivals = arrivals[0];
}

void nqtest_stepper_order(const struct nqtest_stepper *stepper, const struct nqtest_order *order)
{
    ck_assert_int_eq(write(stepper->orders, order, sizeof(*order)), (ssize_t)sizeof(*order));
}

struct nqtest_arrival nqtest_stepper_arrived(const struct nqtest_stepper *stepper)
{
    struct nqtest_arrival arrival;

    ck_assert_msg(read(stepper->arrivals, &arrival, sizeof(arrival)) == (ssize_t)sizeof(arrival),
                  "the program that is led has failed by itself");
    return arrival;
}

void nqtest_stepper_kill(const struct nqtest_stepper *stepper)
{
    char byte = 0;

    ck_assert_int_eq(write(stepper->orders, &byte, 1), 1);
    ck_assert_int_eq(read(stepper->arrivals, &byte, 1), 1);
}

void nqtest_stepper_end(struct nqtest_stepper *stepper)
{
    int status;

    close(stepper->orders);
    close(stepper->arrivals);
    ck_assert_int_eq(waitpid(stepper->pid, &status, 0), stepper->pid);
    ck_assert_int_eq(status, 0);
}

#endif

/* Runs the tries, each in a process of its own, and tells in TAP which rules hold.
 *
 * A try belongs to one rule, but may find that another one is broken: then that one is told, and of
 * the try's own nothing is known.  So a fault shows as the rule it breaks, however many tries
 * stumble over it.  What a try finds comes back through memory that both processes see. */
#include "tools/conform/try.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
/* A try that waits in vain ends by itself; one that hangs is ended after so many times that.  After
 * so many that hang no more are begun. */
#define DEADLINES 3
#define HANGS_MAX 3
/* Bytes that are on their way are there after so many questions. */
#define POLLS 100000
#define NS_PER_MS 1000000
#define GLANCE_MS 100
#define LEAST_PATIENCE_MS 2000

enum end { END_NONE, END_HELD, END_LEFT_OUT, END_BROKEN };

/* What the try says; the last lines of the file are the rules' results. */
struct report {
    enum end end;
    enum nqtest_rule rule; /* END_BROKEN: NONE = the one that is tried */
    char text[512];
    char with[64]; /* nqtest_with() */
    const char *_Atomic running;
};

_Static_assert(NQTEST_RULE_COUNT <= 64, "a rule is a bit of nqtest_conform.only");

struct state {
    enum end end;
    char text[640];
};

struct run {
    const struct nqtest_conform *conform;
    struct report *report; /* shared */
    int64_t patience_ms;
    bool waited; /* in vain: later tries wait for a shorter time */
    unsigned hangs, told, broken, left_out;
    struct state rules[NQTEST_RULE_COUNT];
};

/* ---- in the try's process --------------------------------------------------------------- */

static struct report *mine;
static struct nqtest_transport tested;
static char name_of_file[64];
static const char *tested_file;

/* The plugin's threads may break a rule, too; the first one counts. */
static _Noreturn void end_as(enum end end, enum nqtest_rule rule, const char *text)
{
    static atomic_flag ended = ATOMIC_FLAG_INIT;

    if (atomic_flag_test_and_set(&ended))
        for (;;)
            pause();
    mine->rule = rule;
    snprintf(mine->text, sizeof(mine->text), "%s", text);
    mine->end = end;
    _exit(0);
}

void nqtest_broken(enum nqtest_rule rule, const char *file, int line, const char *format, ...)
{
    char text[sizeof(mine->text)];
    va_list args;

    (void)file;
    (void)line;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    end_as(END_BROKEN, rule, text);
}

void nqtest_leave_out(const char *why)
{
    end_as(END_LEFT_OUT, NQTEST_RULE_NONE, why);
}

bool nqtest_is_name(const char *name)
{
    return strcmp(name, name_of_file) == 0;
}

const char *nqtest_file(void)
{
    return tested_file;
}

void nqtest_with(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(mine->with, sizeof(mine->with), format, args);
    va_end(args);
}

void nqtest_poll_until(bool (*cond)(const void *link), struct nqtest_link *link)
{
    for (int i = 0; i < POLLS && !cond(link); i++)
        (void)nqtest_rx_poll(link);
    nqtest_until_or(NQTEST_RULE_NONE, cond, link, "rx_poll() or the loop to receive");
}

static const struct nqt_module *load_or_end(const char *file)
{
    char why[256];
    const struct nqt_module *module = nqtest_load(file, why, sizeof(why));

    NQTEST_MUST(LOAD, module, "%s", why);
    return module;
}

/* What a library opens once and keeps is not this try's. */
static void warm_up(void)
{
    struct nqtest_host *host = nqtest_host_new(tested.module, 0);
    struct nqtest_ep *ep;

    nqtest_fds_of_library = true;
    if (!host)
        return;
    (void)nqtest_ep_open(host, true, tested.server, &ep, NULL);
    nqtest_host_free(host);
}

/* A try that forks does so before anything of the transport runs. */
static bool needs_warm_up(enum nqtest_rule rule)
{
    return rule > NQTEST_RULE_OPEN && rule != NQTEST_RULE_KILLED &&
           tested.module->threading == NQT_THREADING_OWN;
}

static _Noreturn void try_here(const struct run *run, const struct nqtest_try *try, int round)
{
    const struct nqtest_conform *conform = run->conform;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO); /* standard output is ours */
    mine = run->report;
    nqtest_running = &mine->running;
    nqtest_patience = run->patience_ms;
    tested = conform->transport;
    nqtest_tested = &tested;
    if (conform->inner)
        nqtest_inner = load_or_end(conform->inner);
    tested.module = load_or_end(conform->file);
    tested_file = conform->file;
    nqtest_name_of(conform->file, name_of_file, sizeof(name_of_file));
    if (try->caps & ~tested.module->caps)
        nqtest_leave_out("it does not claim what this needs");
    if (needs_warm_up(try->rule))
        warm_up();
    if (try->run)
        try->run();
    else
        try->each(round);
    nqtest_check_retired();
    mine->end = END_HELD;
    _exit(0);
}

/* ---- one try, from outside ------------------------------------------------------------------ */

/* Until the process has ended, or has had `ms`: then it is killed.  Time is counted in glances, so
 * that what passes while all of us are stopped does not count.  @return its status, or -1 */
static int await(pid_t pid, int64_t ms)
{
    const struct timespec glance = {.tv_nsec = GLANCE_MS * NS_PER_MS};
    sigset_t child;
    int status;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (int64_t left = ms; left > 0;) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        if (sigtimedwait(&child, NULL, &glance) < 0)
            left -= GLANCE_MS;
    }
    kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return -1;
}

static void say(struct report *report, enum nqtest_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct report *report, enum nqtest_rule rule, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(report->text, sizeof(report->text), format, args);
    va_end(args);
    report->end = END_BROKEN;
    report->rule = rule;
}

static void say_with(struct report *report)
{
    size_t len = strlen(report->text);

    if (*report->with)
        snprintf(report->text + len, sizeof(report->text) - len, " (with %s)", report->with);
}

/* A process that ended without a word broke the rule of its try. */
static void judge_silence(struct report *report, int status, int64_t ms)
{
    const char *running = report->running;

    if (status < 0)
        say(report, running ? NQTEST_RULE_BLOCKS : NQTEST_RULE_NONE,
            running ? "%s did not return within %lld s" : "%sit did not end within %lld s",
            running ? running : "", (long long)ms / 1000);
    else if (WIFSIGNALED(status))
        say(report, NQTEST_RULE_NONE, "%s: %s%s", strsignal(WTERMSIG(status)),
            running ? "in " : "outside of all slots", running ? running : "");
    else
        say(report, NQTEST_RULE_NONE, "the process was ended with exit code %d",
            WEXITSTATUS(status));
}

/* What tries leave there is in the way of the next. */
static void empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

/* Whoever let one wait in vain is waited for less in later tries. */
static void lose_patience(struct run *run)
{
    int64_t ms = run->patience_ms / 4;

    if (run->waited || (!run->hangs && !strstr(run->report->text, "in vain")))
        return;
    run->waited = true;
    if (run->patience_ms > LEAST_PATIENCE_MS)
        run->patience_ms = ms > LEAST_PATIENCE_MS ? ms : LEAST_PATIENCE_MS;
}

static void run_one(struct run *run, const struct nqtest_try *try, int round)
{
    int64_t ms = run->patience_ms * DEADLINES;
    pid_t pid;
    int status;

    memset(run->report, 0, sizeof(*run->report));
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        try_here(run, try, round);
    if (pid < 0) {
        say(run->report, NQTEST_RULE_NONE, "no process: %s", strerror(errno));
        return;
    }
    status = await(pid, ms);
    if (run->report->end == END_NONE)
        judge_silence(run->report, status, ms);
    if (run->report->end == END_BROKEN)
        say_with(run->report);
    run->hangs += status < 0;
    lose_patience(run);
    empty_folder(run->conform->folder);
}

/* ---- rules ------------------------------------------------------------------------------ */

static void tell(struct run *run, enum nqtest_rule rule)
{
    const struct state *state = &run->rules[rule];
    const struct nqtest_rule_text *text = &nqtest_rules[rule];
    bool broken = state->end == END_BROKEN;

    run->told++;
    run->broken += broken;
    run->left_out += state->end == END_LEFT_OUT;
    printf("%sok %u - %s: %s", broken ? "not " : "", run->told, text->name, text->sentence);
    if (state->end == END_LEFT_OUT)
        printf(" # SKIP %s", state->text);
    printf("\n");
    if (broken)
        printf("# %s\n", state->text);
    fflush(stdout);
}

static void set_state(struct run *run, enum nqtest_rule rule, enum end end, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void set_state(struct run *run, enum nqtest_rule rule, enum end end, const char *format, ...)
{
    struct state *state = &run->rules[rule];
    va_list args;

    va_start(args, format);
    vsnprintf(state->text, sizeof(state->text), format, args);
    va_end(args);
    state->end = end;
    for (char *at = state->text; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
}

static bool is_wanted(const struct run *run, enum nqtest_rule rule)
{
    return !run->conform->only || run->conform->only >> rule & 1;
}

/* It still has a line to come: if it is not among those that are asked for, or was told to hold,
 * what breaks it is told of the rule that is tried. */
static bool can_be_told(const struct run *run, enum nqtest_rule rule, enum nqtest_rule tried)
{
    return is_wanted(run, rule) &&
           (rule >= tried || nqtest_rules[rule].watched || run->rules[rule].end == END_BROKEN);
}

/* The try of `rule` has ended.  @return the rule's tries go on */
static bool take_report(struct run *run, enum nqtest_rule rule)
{
    const struct report *report = run->report;
    enum nqtest_rule to = report->rule ? report->rule : rule;

    if (report->end == END_HELD) {
        run->rules[rule].end = END_HELD;
        return true;
    }
    if (report->end == END_LEFT_OUT) {
        if (run->rules[rule].end == END_NONE)
            set_state(run, rule, END_LEFT_OUT, "%s", report->text);
        return true;
    }
    if (!can_be_told(run, to, rule)) {
        set_state(run, rule, END_BROKEN, "%s: %s", nqtest_rules[to].name, report->text);
        return false;
    }
    if (run->rules[to].end != END_BROKEN) {
        if (to == rule)
            set_state(run, to, END_BROKEN, "%s", report->text);
        else
            set_state(run, to, END_BROKEN, "%s (seen while \"%s\" was tried)", report->text,
                      nqtest_rules[rule].name);
    }
    if (to != rule)
        set_state(run, rule, END_LEFT_OUT, "\"%s\" is broken", nqtest_rules[to].name);
    return false;
}

static const struct nqtest_try *const lists[] = {
    nqtest_tries_module, nqtest_tries_object, nqtest_tries_options,
    nqtest_tries_life,   nqtest_tries_bytes,  nqtest_tries_killed,
    nqtest_tries_memory, nqtest_tries_abi,    nqtest_tries_failure};

/* Without these nothing else can be tried, and who never tells of an end does not tell of that of a
 * killed process either. */
static enum nqtest_rule broken_ground(const struct run *run, enum nqtest_rule rule)
{
    static const enum nqtest_rule ground[] = {NQTEST_RULE_LOAD, NQTEST_RULE_DESCRIPTOR,
                                              NQTEST_RULE_OPEN, NQTEST_RULE_UP};

    if (run->hangs >= HANGS_MAX)
        return NQTEST_RULE_BLOCKS;
    if (rule == NQTEST_RULE_KILLED && run->rules[NQTEST_RULE_END].end == END_BROKEN)
        return NQTEST_RULE_END;
    for (size_t i = 0; i < LEN(ground); i++)
        if (run->rules[ground[i]].end == END_BROKEN)
            return ground[i];
    return NQTEST_RULE_NONE;
}

static void run_rule(struct run *run, enum nqtest_rule rule)
{
    enum nqtest_rule ground = broken_ground(run, rule);

    if (run->rules[rule].end == END_BROKEN)
        return;
    if (ground) {
        set_state(run, rule, END_LEFT_OUT, "\"%s\" is broken", nqtest_rules[ground].name);
        return;
    }
    for (size_t l = 0; l < LEN(lists); l++)
        for (const struct nqtest_try *try = lists[l]; try->rule; try++)
            for (int round = 0; try->rule == rule && round < (try->run ? 1 : try->rounds);
                 round++) {
                run_one(run, try, round);
                if (!take_report(run, rule))
                    return;
            }
}

/* What is watched holds when nothing was seen, unless next to nothing was tried. */
static void look_back(struct run *run, enum nqtest_rule rule)
{
    enum nqtest_rule ground = broken_ground(run, rule);

    if (ground && run->rules[rule].end == END_NONE)
        set_state(run, rule, END_LEFT_OUT, "\"%s\" is broken", nqtest_rules[ground].name);
}

static void run_all(struct run *run)
{
    unsigned count = 0;

    for (enum nqtest_rule rule = NQTEST_RULE_LOAD; rule < NQTEST_RULE_COUNT; rule++)
        count += is_wanted(run, rule);
    printf("1..%u\n", count);
    for (enum nqtest_rule rule = NQTEST_RULE_LOAD; rule < NQTEST_RULE_COUNT; rule++) {
        if (!is_wanted(run, rule))
            continue;
        if (nqtest_rules[rule].watched)
            look_back(run, rule);
        else
            run_rule(run, rule);
        tell(run, rule);
    }
    printf("# %u hold, %u broken, %u not tried\n", run->told - run->broken - run->left_out,
           run->broken, run->left_out);
}

unsigned nqtest_conform(const struct nqtest_conform *conform)
{
    struct run run = {.conform = conform, .patience_ms = conform->patience_ms};
    sigset_t child, before;

    run.report =
        mmap(NULL, sizeof(*run.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.report == MAP_FAILED)
        return 1;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    run_all(&run);
    sigprocmask(SIG_SETMASK, &before, NULL);
    munmap(run.report, sizeof(*run.report));
    return run.broken;
}

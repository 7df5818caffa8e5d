/* Ctrl-C: the first ends the command in good order, the second at once.
 *
 * The handler only sets a flag; commands wait in slices and look at it.  No lock and no
 * call of the library in a handler. */
#include "tools/signals.h"
#include "tools/tool.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t signals_seen;

static void signals_note(int number)
{
    (void)number;
    if (signals_seen)
        _exit(NQI_EXIT_INTERRUPTED);
    signals_seen = 1;
}

/* A file that shrinks while it is mapped: the message cannot be sent as announced. */
static void signals_bus(int number)
{
    static const char text[] = "netqueue: a file became shorter while it was being sent\n";

    (void)number;
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(NQI_EXIT_FAILED);
    _exit(NQI_EXIT_FAILED);
}

static void signals_set(int number, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);
    action.sa_handler = handler; /* no SA_RESTART: a blocking read must end */
    sigaction(number, &action, NULL);
}

void nqi_signals_install(void)
{
    struct sigaction hangup;

    signals_set(SIGINT, signals_note);
    signals_set(SIGTERM, signals_note);
    /* Started with nohup: the terminal may go. */
    if (sigaction(SIGHUP, NULL, &hangup) != 0 || hangup.sa_handler != SIG_IGN)
        signals_set(SIGHUP, signals_note);
    signals_set(SIGBUS, signals_bus);
    signals_set(SIGPIPE, SIG_IGN);
}

bool nqi_interrupted(void)
{
    return signals_seen != 0;
}

/* A progress bar on standard error, on a terminal only.
 *
 * One line that is drawn again and again; whoever prints something else wipes it first.
 * Log lines of the library are led through here for that reason. */
#include "tools/progress.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PROGRESS_PAUSE_NS (100 * NQI_NS_PER_MS)
#define PROGRESS_BAR 200 /* widest bar that is drawn */

/* Guards the terminal's line: the library logs on any thread. */
static pthread_mutex_t progress_mtx = PTHREAD_MUTEX_INITIALIZER;
static bool progress_drawn;

static void progress_wipe_locked(void)
{
    if (progress_drawn)
        fputs("\r\033[K", stderr);
    progress_drawn = false;
}

void nqi_progress_wipe(void)
{
    pthread_mutex_lock(&progress_mtx);
    progress_wipe_locked();
    pthread_mutex_unlock(&progress_mtx);
}

static void progress_log(void *arg, nq_log_level level, const char *line)
{
    (void)arg;
    pthread_mutex_lock(&progress_mtx);
    progress_wipe_locked();
    fprintf(stderr, "netqueue: %s%s\n", level == NQ_LOG_ERROR ? "error: " : "", line);
    pthread_mutex_unlock(&progress_mtx);
}

/* Take the library's log over, at the level that the environment asks for. */
static void progress_take_log(void)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *want = getenv("NETQUEUE_LOG");
    nq_log_level level = NQ_LOG_WARN;

    if (want && strcmp(want, "none") == 0)
        return; /* the library's own sink knows how to be silent */
    for (size_t i = 0; want && i < NQI_LEN(names); i++)
        if (strcmp(want, names[i]) == 0)
            level = (nq_log_level)i;
    nq_log_set(progress_log, NULL, level);
}

void nqi_progress_init(struct nqi_progress *progress, bool quiet)
{
    const char *term = getenv("TERM");

    memset(progress, 0, sizeof(*progress));
    progress->began_ns = nqi_now_ns();
    progress->on = !quiet && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    if (progress->on)
        progress_take_log();
}

char *nqi_format_bytes(double bytes, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;

    while (bytes >= 1023.95 && unit + 1 < NQI_LEN(units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 24, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

static size_t progress_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return 80;
    return size.ws_col;
}

/* Print `head`, and before it a bar of what `width` leaves when `share` is 0..1. */
static void progress_draw(const char *head, double share)
{
    size_t width = progress_width();
    size_t used = strlen(head) + 9;
    size_t cells = share >= 0 && width > used + 10 ? width - used : 0;
    char bar[PROGRESS_BAR + 1];

    cells = cells > PROGRESS_BAR ? PROGRESS_BAR : cells;
    memset(bar, ' ', sizeof(bar));
    for (size_t i = 0; i < cells && (double)i < share * (double)cells; i++)
        bar[i] = '#';
    pthread_mutex_lock(&progress_mtx);
    if (cells)
        fprintf(stderr, "\r%3.0f%% [%.*s] %s\033[K", share * 100, (int)cells, bar, head);
    else
        fprintf(stderr, "\r%.*s\033[K", (int)width - 1, head);
    fflush(stderr);
    progress_drawn = true;
    pthread_mutex_unlock(&progress_mtx);
}

static bool progress_due(struct nqi_progress *progress, int64_t now)
{
    if (!progress->on || now - progress->drawn_ns < PROGRESS_PAUSE_NS)
        return false;
    progress->drawn_ns = now;
    return true;
}

static void progress_eta(double seconds, char out[32])
{
    unsigned long s = seconds < 1e6 ? (unsigned long)(seconds + 0.5) : 999999;

    if (s >= 3600)
        snprintf(out, 32, "ETA %lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 32, "ETA %lu:%02lu", s / 60, s % 60);
}

void nqi_progress_show(struct nqi_progress *progress, uint64_t done, uint64_t total,
                       uint64_t messages)
{
    int64_t now = nqi_now_ns();
    double seconds = (double)(now - progress->began_ns) / 1e9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char have[24], want[24], speed[24], eta[32] = "", head[160];

    if (!progress_due(progress, now))
        return;
    done = total && done > total ? total : done;
    nqi_format_bytes((double)done, have);
    nqi_format_bytes((double)total, want);
    nqi_format_bytes(rate, speed);
    if (total && rate > 0)
        progress_eta((double)(total - done) / rate, eta);
    if (total)
        snprintf(head, sizeof(head), "%s of %s  %s/s  %s", have, want, speed, eta);
    else
        snprintf(head, sizeof(head), "%s  %llu messages  %s/s", have, (unsigned long long)messages,
                 speed);
    progress_draw(head, total ? (double)done / (double)total : -1);
}

void nqi_progress_note(struct nqi_progress *progress, const char *text)
{
    if (progress_due(progress, nqi_now_ns()))
        progress_draw(text, -1);
}

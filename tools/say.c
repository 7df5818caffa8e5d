/* Messages for people, on standard error.
 *
 * One place prints them, so that the progress bar is wiped first and nothing that a
 * peer chose can steer the terminal. */
#include "tools/say.h"
#include "tools/progress.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *say_command;

void nqi_say_command(const char *name)
{
    say_command = name;
}

static void say_byte(char byte)
{
    unsigned char c = (unsigned char)byte;

    if (c == '\n')
        fputs("\n    ", stderr);
    else if (c < 0x20 || c == 0x7f)
        fprintf(stderr, "\\x%02x", c);
    else
        putc(c, stderr);
}

static void say_text(const char *text)
{
    size_t len = strlen(text);

    while (len && text[len - 1] == '\n')
        len--;
    nqi_progress_wipe();
    flockfile(stderr);
    fprintf(stderr, "netqueue: %s%s", say_command ? say_command : "", say_command ? ": " : "");
    for (size_t i = 0; i < len; i++)
        say_byte(text[i]);
    putc('\n', stderr);
    funlockfile(stderr);
}

void nqi_say(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    say_text(len < 0 ? "no memory" : text);
    if (len >= 0)
        free(text);
}

static int say_code(nq_err err)
{
    switch (err) {
    case NQ_OK:
        return NQI_EXIT_OK;
    case NQ_ERR_CONFIG:
    case NQ_ERR_PLUGIN:
    case NQ_ERR_SYS:
    case NQ_ERR_UNSUPPORTED:
        return NQI_EXIT_CONFIG;
    case NQ_ERR_LINK:
    case NQ_ERR_PROTO:
    case NQ_AGAIN:
        return NQI_EXIT_LINK;
    default:
        return NQI_EXIT_FAILED;
    }
}

int nqi_say_error(nq_err err)
{
    const char *text = nq_error();

    say_text(*text ? text : nq_strerror(err));
    return say_code(err);
}

void nqi_say_errno(const char *what, int number)
{
    nqi_say("%s: %s", what, strerror(number));
}

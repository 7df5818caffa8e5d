/* Messages for people, on standard error. */
#ifndef NQ_TOOLS_SAY_H
#define NQ_TOOLS_SAY_H

#include "tools/tool.h"

/* The word that stands after "netqueue: " from now on; static text, NULL = none. */
void nqi_say_command(const char *name);

/* Print "netqueue: put: <text>" and a newline.  Control bytes are printed as \xNN, because
 * file names and texts of peers come through here; further lines are indented. */
void nqi_say(const char *format, ...) NQI_PRINTF(1, 2);

/* Print what the library says about its last failure, which was `err`.  Call it before any
 * other call of the library.  @return the exit code that belongs to `err` */
int nqi_say_error(nq_err err);

/* Print the last system error: "<what>: <strerror(number)>". */
void nqi_say_errno(const char *what, int number);

#endif

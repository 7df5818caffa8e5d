/* A loop that is turned by hand, without token and room, and a serial on it. */
#ifndef NQTEST_LOOP_RIG_H
#define NQTEST_LOOP_RIG_H

#include "core/loop.h"

extern struct nqi_loop *nqtest_loop;
extern struct nqi_serial nqtest_serial;

/* The fixture. */
void nqtest_loop_setup(void);
void nqtest_loop_teardown(void);

bool nqtest_readable(int fd); /* now */

/* Sleep and handle until `*calls` is `want`; a lost deadline ends in Check's time limit. */
void nqtest_loop_until(const int *calls, int want);

#endif

/* An MQTT broker of the test's own: mosquitto on a free port of 127.0.0.1.
 *
 * One at a time in a process, and it ends with the process that started it, whatever becomes of
 * that one. */
#ifndef NQTEST_BROKER_H
#define NQTEST_BROKER_H

#include <stdbool.h>

/* mosquitto is installed. */
bool nqtest_broker_installed(void);

/* Start it unless it runs, and wait until it accepts connections.  @param more  further lines of
 * its configuration, or "".  @return the port, the same for the process's life */
unsigned nqtest_broker(const char *more);

/* SIGKILL; it is gone on return.  nqtest_broker() starts it again. */
void nqtest_broker_kill(void);
void nqtest_broker_end(void); /* the same by SIGTERM */

/* SIGSTOP and SIGCONT. */
void nqtest_broker_pause(bool pause);

/* A teardown: until paho's threads are gone.  It calls them ended a moment before they are, and
 * what OpenSSL keeps for a thread that ends when OpenSSL has cleaned up at exit is nobody's any
 * more. */
void nqtest_broker_threads_end(void);

#endif

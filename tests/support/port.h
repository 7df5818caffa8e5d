/* A TCP port that no other test of this machine gets while this process lives. */
#ifndef NQTEST_PORT_H
#define NQTEST_PORT_H

/* Nobody listens on it on 127.0.0.1 now, and the system hands it out to nobody. */
unsigned nqtest_free_port(void);

#endif

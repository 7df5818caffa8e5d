/* What tests of the transport shm need: a folder of their own, and peers made by hand. */
#ifndef NQTEST_SHM_RIG_H
#define NQTEST_SHM_RIG_H

#include "plugins/shm/shm.h"
#include "tools/conform/rig.h"
#include <check.h>

extern const struct nqt_module shm_LTX_nqt1_module;

/* A folder that this program removes at its end, and a path in it; call it from nqtest_suite(). */
void nqtest_shm_folder(void);
extern char nqtest_shm_path[];

/* Options with that path: the usual ones, and such that most sends find no room. */
extern const struct nqtest_opt nqtest_shm_usual[], nqtest_shm_tiny[];

/* ---- a peer made by hand --------------------------------------------------------------------- */

/* A HELLO as it travels; nqtest_shm_hello() is a good one for those sizes. */
struct nqtest_hello {
    char magic[8];
    uint32_t version, cell, ncell, ntoken, nbyte, zero;
    uint64_t len;
};
struct nqtest_hello nqtest_shm_hello(void);

/* Send `len` bytes with `n` (0 to 2) descriptors, which stay open. */
void nqtest_shm_say(int fd, const void *data, size_t len, const int *fds, unsigned n);

/* A socket that is connected to the path, or listens there. */
int nqtest_shm_knock(void);
int nqtest_shm_serve(void);

/* Both outboxes of a peer that greeted as it should. */
struct nqtest_shm_peer {
    int fd; /* -1 = closed */
    struct shm_memory memory[2];
    struct shm_outbox ours, theirs;
};

/* A client by hand, whose link at the server is up: the last that it accepted. */
void nqtest_shm_join(struct nqtest_shm_peer *peer, struct nqtest_ep *server);
/* What it sends: one cell with that commit word. */
void nqtest_shm_commit(struct nqtest_shm_peer *peer, uint64_t position,
                       const struct shm_words *words);
void nqtest_shm_leave(struct nqtest_shm_peer *peer);

/* Lines of /proc/self/maps that are memory of links. */
unsigned nqtest_shm_maps(void);
/* The last of them goes a moment after what tells that its peer is gone, on whichever thread. */
void nqtest_shm_until_no_maps(void);
/* `len` bytes from `data` on are in one of them. */
bool nqtest_shm_holds(const void *data, size_t len);

#endif

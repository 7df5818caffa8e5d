/* Where the tries of a transport take place: its options, from JSON. */
#ifndef NQTEST_PLACE_H
#define NQTEST_PLACE_H

#include "tools/conform/rig.h"
#include "tools/tool.h"

#define NQTEST_PLACE_OPTS 32

struct nqtest_side {
    struct nqtest_opt opts[NQTEST_PLACE_OPTS + 1]; /* owned texts */
    size_t n;
};

/* Zeroed before it is read. */
struct nqtest_place {
    struct nqtest_side server, client, tiny_server, tiny_client;
    bool is_tiny; /* there are options for small buffers */
    char *port;   /* owned; NULL = not named */
};

/* Read it.
 *
 * @param json    an object, or the name of a file with one
 * @param folder  what $DIR stands for in texts
 * @return        false: it was said what is wrong; free the place all the same */
bool nqtest_place_read(const char *json, const char *folder, struct nqtest_place *ret);
void nqtest_place_fini(struct nqtest_place *place);

#endif

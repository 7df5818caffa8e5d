/* What `put` is to send: its operands, with directories opened up. */
#ifndef NQ_TOOLS_INPUTS_H
#define NQ_TOOLS_INPUTS_H

#include "tools/tool.h"

struct nqi_input {
    char *path;       /* what to open; "-" = standard input */
    const char *name; /* the name that travels, inside `path`; NULL = none */
    uint64_t size;    /* bytes, as far as known now */
};

struct nqi_inputs {
    struct nqi_input *items; /* owned, like their paths */
    size_t n, cap;
    uint64_t bytes;  /* of all; 0 when one of them is not known */
    bool unknown;    /* one is a pipe or the like */
    bool incomplete; /* something could not be listed; it was said */
};

/* List `paths` (none = standard input).  A file is named by its last component, a file in
 * a directory by its path below that directory; symbolic links and special files inside are
 * skipped.  What is wrong is said on standard error, and the rest goes on.
 * @return false when there is no memory */
bool nqi_inputs_list(char **paths, int n, bool recursive, struct nqi_inputs *ret);

/* For NQI_CLEANUP. */
void nqi_inputs_fini(struct nqi_inputs *inputs);

#endif

/* The known word nearest to one that was mistyped. */
#ifndef NQ_CORE_NEAR_H
#define NQ_CORE_NEAR_H

#include "core/base.h"

/* Only so many bytes of a word are looked at: what differs later differs in length. */
#define NQI_NEAR_CAP 64

struct nqi_near {
    const char *text; /* as it was written, borrowed */
    const char *best; /* the nearest word so far, borrowed; NULL = none was tried */
    size_t distance;  /* of `best` */
};

/* How many bytes must be typed, taken away or exchanged, or neighbours swapped, to make `b`
 * of `a`. */
size_t nqi_near_distance(const char *a, const char *b);

/* Compare with one more known word; of two equally near ones the first stays. */
void nqi_near_try(struct nqi_near *near, const char *word);

/* The same for each of `words`, NULL-terminated. */
void nqi_near_try_all(struct nqi_near *near, const char *const *words);

#endif

/* What exported arrays and schemas keep: one block for a whole tree, counted by its nodes.
 *
 *     node, node, node ... (private_data) --> hold --> memory of a message or of a schema
 *
 * Consumers may move any node elsewhere, move children out, and release on any thread, so each node
 * counts for itself, and nothing but private_data leads from a node to the hold.
 *
 * Thread: any.  Nothing blocks. */
#ifndef NQ_CORE_ARROW_HOLD_H
#define NQ_CORE_ARROW_HOLD_H

#include "core/base.h"
#include "core/stream.h"
#include <netqueue/arrow.h>
#include <stdatomic.h>

struct nqi_arrow_hold {
    _Atomic uint32_t refs;   /* atomic: the last one frees what the others used */
    size_t size;             /* of this block */
    struct nq_stream memory; /* what the nodes point into; the maker's until they are handed out */
    _Alignas(16) unsigned char room[];
};

/* A hold with `room` bytes, zeroed, no memory and one reference.
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_arrow_hold_new(size_t room, struct nqi_arrow_hold **ret);

/* References for `n` nodes more. */
void nqi_arrow_hold_ref(struct nqi_arrow_hold *hold, uint32_t n);
void nqi_arrow_hold_unref(struct nqi_arrow_hold *hold);

/* The release functions of all nodes; private_data is the hold. */
void nqi_arrow_release_schema(struct ArrowSchema *schema);
void nqi_arrow_release_array(struct ArrowArray *array);

#endif

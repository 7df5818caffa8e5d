/* The end of exported nodes.  A node ends its children first, those that are still there: a
 * consumer may have moved them out. */
#include "core/arrow_hold.h"

#include "core/err.h"
#include "core/pool.h"
#include <string.h>

nq_err nqi_arrow_hold_new(size_t room, struct nqi_arrow_hold **ret)
{
    size_t size = sizeof(struct nqi_arrow_hold) + room;
    struct nqi_arrow_hold *hold = nqi_pool_alloc(size);

    if (!hold)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for an array's structs");
    atomic_init(&hold->refs, 1);
    hold->size = size;
    nqi_stream_init(&hold->memory);
    memset(hold->room, 0, room);
    *ret = hold;
    return NQ_OK;
}

void nqi_arrow_hold_ref(struct nqi_arrow_hold *hold, uint32_t n)
{
    atomic_fetch_add_explicit(&hold->refs, n, memory_order_relaxed);
}

void nqi_arrow_hold_unref(struct nqi_arrow_hold *hold)
{
    if (atomic_fetch_sub_explicit(&hold->refs, 1, memory_order_acq_rel) != 1)
        return;
    nqi_stream_fini(&hold->memory);
    nqi_pool_free(hold, hold->size);
}

void nqi_arrow_release_schema(struct ArrowSchema *schema)
{
    struct nqi_arrow_hold *hold = schema->private_data;

    for (int64_t i = 0; i < schema->n_children; i++)
        if (schema->children[i]->release)
            schema->children[i]->release(schema->children[i]);
    if (schema->dictionary && schema->dictionary->release)
        schema->dictionary->release(schema->dictionary);
    schema->release = NULL;
    nqi_arrow_hold_unref(hold);
}

void nqi_arrow_release_array(struct ArrowArray *array)
{
    struct nqi_arrow_hold *hold = array->private_data;

    for (int64_t i = 0; i < array->n_children; i++)
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
    if (array->dictionary && array->dictionary->release)
        array->dictionary->release(array->dictionary);
    array->release = NULL;
    nqi_arrow_hold_unref(hold);
}

/* The list of fields as the C interface's tree.  One block has all nodes in pre-order and the lists
 * of their children; each node but the root stands in one list or is one dictionary. */
#include "core/arrow_hold.h"
#include "core/arrow_schema.h"
#include <string.h>

struct schema_export {
    struct nqi_arrow_hold *hold;
    struct ArrowSchema *node;  /* the next one of the block */
    struct ArrowSchema **list; /* its next entries */
};

/* @return the field behind all of it */
static const struct nqi_arrow_field *
export_field(struct schema_export *to, const struct nqi_arrow_field *field, struct ArrowSchema *ret)
{
    const struct nqi_arrow_field *below = field + 1;

    *ret = (struct ArrowSchema){.format = field->format,
                                .name = field->name,
                                .metadata = field->metadata,
                                .flags = field->flags,
                                .n_children = field->nchildren,
                                .children = field->nchildren ? to->list : NULL,
                                .release = nqi_arrow_release_schema,
                                .private_data = to->hold};
    to->list += field->nchildren;
    for (uint32_t i = 0; i < field->nchildren; i++) {
        ret->children[i] = to->node++;
        below = export_field(to, below, ret->children[i]);
    }
    if (!field->dictionary)
        return below;
    ret->dictionary = to->node++;
    return export_field(to, below, ret->dictionary);
}

nq_err nqi_arrow_schema_export(const struct nqi_arrow_fields *fields, const nq_stream *memory,
                               struct ArrowSchema *ret)
{
    size_t below = fields->count - 1, nodes = below * sizeof(struct ArrowSchema);
    struct schema_export to;
    nq_err err;

    err = nqi_arrow_hold_new(nodes + below * sizeof(struct ArrowSchema *), &to.hold);
    if (err)
        return err;
    err = nqi_stream_share(&to.hold->memory, memory, 0, memory->nbytes);
    if (err) {
        nqi_arrow_hold_unref(to.hold);
        return err;
    }
    to.node = (struct ArrowSchema *)(void *)to.hold->room;
    to.list = (struct ArrowSchema **)(void *)(to.hold->room + nodes);
    nqi_arrow_hold_ref(to.hold, (uint32_t)below);
    export_field(&to, fields->field, ret);
    return NQ_OK;
}

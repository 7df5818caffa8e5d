/* Fixed-width integers only, lengths compared before they are used, unknown bits refused. */
#include "core/frame.h"

#include "core/err.h"

/* Least and most bytes in the body of each control record. */
static const struct {
    uint16_t least, most;
} frame_bodies[NQI_RECORD_TYPES] = {
    [NQI_HELLO] = {NQI_HELLO_SIZE, NQI_HELLO_SIZE},
    [NQI_CHALLENGE] = {NQI_HELLO_SIZE, NQI_HELLO_SIZE},
    [NQI_AUTH] = {NQI_AUTH_SIZE, NQI_AUTH_SIZE},
    [NQI_WELCOME] = {NQI_WELCOME_SIZE, NQI_WELCOME_SIZE},
    [NQI_REJECT] = {0, NQI_CONTROL_MAX},
    [NQI_ACK] = {24, 24},
    [NQI_PING] = {8, 8},
    [NQI_PONG] = {8, 8},
    [NQI_BYE] = {8, 8},
    [NQI_BYE_ACK] = {0, 0},
    [NQI_GOAWAY] = {0, 0},
};

static nq_err frame_check_data(const struct nqi_head *head)
{
    const uint8_t edges = NQI_DATA_BEGIN | NQI_DATA_END;

    if (head->flags & ~NQI_DATA_FLAGS)
        return nqi_fail(NQ_ERR_PROTO, "data record with unknown flags 0x%02x", head->flags);
    if (head->aux > head->length || (head->aux && !(head->flags & NQI_DATA_BEGIN)))
        return nqi_fail(NQ_ERR_PROTO, "data record with misplaced metadata");
    if ((head->flags & NQI_DATA_AGAIN) && !(head->flags & NQI_DATA_BEGIN))
        return nqi_fail(NQ_ERR_PROTO, "data record is redelivered in the middle");
    /* The whole length stands in the first of several records and nowhere else. */
    if (((head->flags & edges) == NQI_DATA_BEGIN) != ((head->flags & NQI_DATA_BIG) != 0))
        return nqi_fail(NQ_ERR_PROTO, "data record with misplaced length");
    if (head->total > NQI_LENGTH_MAX || head->length - head->aux > head->total)
        return nqi_fail(NQ_ERR_PROTO, "data record longer than its message");
    return NQ_OK;
}

nq_err nqi_head_read(const uint8_t *at, struct nqi_head *ret)
{
    struct nqi_head head = {
        .type = at[0], .flags = at[1], .aux = nqi_load_u16(at + 2), .length = nqi_load_u32(at + 4)};
    nq_err err = NQ_OK;

    if (head.type >= NQI_RECORD_TYPES)
        return nqi_fail(NQ_ERR_PROTO, "record of unknown type %u", head.type);
    if (head.type == NQI_DATA) {
        head.total = head.flags & NQI_DATA_BIG ? nqi_load_u64(at + NQI_HEAD)
                                               : (uint64_t)head.length - head.aux;
        err = frame_check_data(&head);
    } else if (head.flags || head.length < frame_bodies[head.type].least ||
               head.length > frame_bodies[head.type].most) {
        err = nqi_fail(NQ_ERR_PROTO, "record of type %u with a body of %u bytes", head.type,
                       head.length);
    }
    if (!err)
        *ret = head;
    return err;
}

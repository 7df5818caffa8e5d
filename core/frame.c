/* Fixed-width integers only, lengths compared before they are used, unknown bits refused. */
#include "core/frame.h"

#include "core/err.h"

static const uint8_t frame_magic[4] = {0xff, 'n', 'q', '1'};

/* Least and most bytes in the body of each control record. */
static const struct {
    uint16_t least, most;
} frame_bodies[NQI_RECORD_TYPES] = {
    [NQI_HELLO] = {NQI_HELLO_SIZE, NQI_HELLO_SIZE},
    [NQI_WELCOME] = {NQI_HELLO_SIZE, NQI_HELLO_SIZE},
    [NQI_REJECT] = {0, NQI_CONTROL_MAX},
    [NQI_ACK] = {24, 24},
    [NQI_PING] = {8, 8},
    [NQI_PONG] = {8, 8},
    [NQI_BYE] = {8, 8},
    [NQI_BYE_ACK] = {0, 0},
};

static nq_err frame_check_data(const struct nqi_head *head)
{
    const uint8_t edges = NQI_DATA_BEGIN | NQI_DATA_END;

    if (head->flags & ~NQI_DATA_FLAGS)
        return nqi_fail(NQ_ERR_PROTO, "data record with unknown flags 0x%02x", head->flags);
    if (head->aux > head->length || (head->aux && !(head->flags & NQI_DATA_BEGIN)))
        return nqi_fail(NQ_ERR_PROTO, "data record with misplaced metadata");
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

static void frame_write_uuid(uint8_t *at, const nq_uuid *uuid)
{
    memcpy(at, uuid->bytes, sizeof(uuid->bytes));
}

/* Offsets in the body of HELLO and WELCOME; what is not named is zero and ignored. */
enum {
    HELLO_MAGIC = 0,
    HELLO_VERSION_MIN = 4,
    HELLO_VERSION_MAX = 6,
    HELLO_FEATURES = 8,
    HELLO_ID = 16,
    HELLO_INCARNATION = 32,
    HELLO_SESSION = 48,
    HELLO_CREDIT_MESSAGES = 64,
    HELLO_CREDIT_BYTES = 72,
    HELLO_MAX_MESSAGE = 80,
    HELLO_KEEPALIVE = 88,
    HELLO_EXPIRY = 96,
    HELLO_RECEIVED = 104,
};

void nqi_hello_write(uint8_t *at, enum nqi_record_type type, const struct nqi_hello *hello)
{
    uint8_t *body = at + nqi_head_write(at, (uint8_t)type, 0, 0, NQI_HELLO_SIZE, 0);

    memset(body, 0, NQI_HELLO_SIZE);
    memcpy(body + HELLO_MAGIC, frame_magic, sizeof(frame_magic));
    nqi_store_u16(body + HELLO_VERSION_MIN, hello->version_min);
    nqi_store_u16(body + HELLO_VERSION_MAX, hello->version_max);
    nqi_store_u64(body + HELLO_FEATURES, hello->features);
    frame_write_uuid(body + HELLO_ID, &hello->id);
    frame_write_uuid(body + HELLO_INCARNATION, &hello->incarnation);
    frame_write_uuid(body + HELLO_SESSION, &hello->session);
    nqi_store_u64(body + HELLO_CREDIT_MESSAGES, hello->credit_messages);
    nqi_store_u64(body + HELLO_CREDIT_BYTES, hello->credit_bytes);
    nqi_store_u64(body + HELLO_MAX_MESSAGE, hello->max_message);
    nqi_store_u64(body + HELLO_KEEPALIVE, (uint64_t)hello->keepalive_ns);
    nqi_store_u64(body + HELLO_EXPIRY, (uint64_t)hello->expiry_ns);
    nqi_store_u64(body + HELLO_RECEIVED, hello->received);
}

static void frame_read_uuid(const uint8_t *at, nq_uuid *uuid)
{
    memcpy(uuid->bytes, at, sizeof(uuid->bytes));
}

static bool frame_uuid_all(const nq_uuid *uuid, uint8_t byte)
{
    for (size_t i = 0; i < sizeof(uuid->bytes); i++)
        if (uuid->bytes[i] != byte)
            return false;
    return true;
}

nq_err nqi_hello_read(const uint8_t *body, struct nqi_hello *ret)
{
    struct nqi_hello hello = {
        .version_min = nqi_load_u16(body + HELLO_VERSION_MIN),
        .version_max = nqi_load_u16(body + HELLO_VERSION_MAX),
        .features = nqi_load_u64(body + HELLO_FEATURES),
        .credit_messages = nqi_load_u64(body + HELLO_CREDIT_MESSAGES),
        .credit_bytes = nqi_load_u64(body + HELLO_CREDIT_BYTES),
        .max_message = nqi_load_u64(body + HELLO_MAX_MESSAGE),
        .keepalive_ns = (int64_t)nqi_load_u64(body + HELLO_KEEPALIVE),
        .expiry_ns = (int64_t)nqi_load_u64(body + HELLO_EXPIRY),
        .received = nqi_load_u64(body + HELLO_RECEIVED),
    };

    if (memcmp(body + HELLO_MAGIC, frame_magic, sizeof(frame_magic)))
        return nqi_fail(NQ_ERR_PROTO, "the other side does not speak netqueue");
    frame_read_uuid(body + HELLO_ID, &hello.id);
    frame_read_uuid(body + HELLO_INCARNATION, &hello.incarnation);
    frame_read_uuid(body + HELLO_SESSION, &hello.session);
    if (frame_uuid_all(&hello.id, 0) || frame_uuid_all(&hello.id, 0xff))
        return nqi_fail(NQ_ERR_PROTO, "hello with a reserved id");
    if (hello.version_min > hello.version_max || !hello.version_min)
        return nqi_fail(NQ_ERR_PROTO, "hello with the versions %u to %u", hello.version_min,
                        hello.version_max);
    if (hello.keepalive_ns < 0 || hello.expiry_ns < 0)
        return nqi_fail(NQ_ERR_PROTO, "hello with negative times");
    *ret = hello;
    return NQ_OK;
}

/* A session of the older wire whose peer says what the input says, in pieces of any size.
 *
 *     byte 0     bit 0: a client, 1: the link cannot be held, 2: memory is refused at first
 *     then       pieces: u16 length with bit 15 = memory is given from now on, bytes
 *
 * Whatever comes: what is set aside is given back, no message is longer than the limit, and nothing
 * is read or written that is not there. */
#include "core/older.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

#define FUZZ_MOST 5000u

struct fuzz {
    struct nqi_session session;
    struct nqi_session_conf conf;
    bool refuse;
    uint64_t reserved, messages, bytes;
};

static void fuzz_deliver(void *arg, nq_msg *msg)
{
    struct fuzz *fuzz = arg;
    const void *data;
    size_t len;

    MUST(msg->stream.nbytes <= FUZZ_MOST);
    fuzz->reserved -= (uint64_t)msg->deadline_ns;
    if (!nq_msg_data(msg, &data, &len))
        fuzz_touch(data, len);
    fuzz->messages++;
    fuzz->bytes += msg->stream.nbytes;
    nqi_msg_unref(msg);
}

static bool fuzz_begin(void *arg, struct nqi_tx *tx)
{
    (void)arg;
    (void)tx;
    abort(); /* nothing is put */
}

static void fuzz_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason)
{
    (void)arg;
    (void)tx;
    (void)outcome;
    (void)reason;
    abort();
}

static void fuzz_settle_untracked(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason)
{
    (void)arg;
    (void)count;
    (void)outcome;
    (void)reason;
    abort();
}

static bool fuzz_reserve(void *arg, uint64_t bytes)
{
    struct fuzz *fuzz = arg;

    MUST(bytes <= FUZZ_MOST);
    fuzz->reserved += fuzz->refuse ? 0 : bytes;
    return !fuzz->refuse;
}

static void fuzz_unreserve(void *arg, uint64_t bytes)
{
    struct fuzz *fuzz = arg;

    MUST(bytes <= fuzz->reserved);
    fuzz->reserved -= bytes;
}

static const struct nqi_session_events fuzz_events = {.deliver = fuzz_deliver,
                                                      .begin = fuzz_begin,
                                                      .settle = fuzz_settle,
                                                      .settle_untracked = fuzz_settle_untracked,
                                                      .reserve = fuzz_reserve,
                                                      .unreserve = fuzz_unreserve};

static const nq_uuid fuzz_ours = {{0x11}}, fuzz_theirs = {{0x22}};

/* As a link reads: into the session's room where it has some. */
static nq_err fuzz_read(struct fuzz *fuzz, const uint8_t *data, size_t len)
{
    unsigned char *room;
    size_t n = nqi_session_space(&fuzz->session, &room);
    nq_err err = NQ_OK;

    n = NQI_MIN(n, len);
    if (n) {
        memcpy(room, data, n);
        err = nqi_session_commit(&fuzz->session, n, 1);
    }
    return err || n == len ? err : nqi_session_receive(&fuzz->session, data + n, len - n, 1);
}

static void fuzz_answer(struct fuzz *fuzz)
{
    struct nqt_buf *bufs[4];
    uint32_t n = nqi_session_pull(&fuzz->session, true, bufs, 4);

    for (uint32_t i = 0; i < n; i++) {
        MUST(bufs[i]->len == NQI_OLDER_NAME);
        bufs[i]->ops->unref(bufs[i]);
    }
    nqi_session_taken(&fuzz->session, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len);
    uint8_t how = nqi_buf_u8(&in);
    struct fuzz fuzz = {.refuse = how & 4,
                        .conf = {.id = fuzz_ours,
                                 .max_message = FUZZ_MOST,
                                 .window_bytes = 8000,
                                 .window_messages = 8,
                                 .record = 2048,
                                 .coalesce = 2048}};
    nq_err err = NQ_OK;

    nqi_session_init(&fuzz.session, &fuzz.conf, &fuzz_events, &fuzz);
    if (how & 1)
        nqi_session_connect_older(&fuzz.session, NULL, how & 2);
    else
        nqi_session_begin_older(&fuzz.session, &fuzz_theirs, how & 2);
    while (!err && nqi_buf_left(&in)) {
        uint16_t piece = nqi_buf_u16(&in);
        size_t size = piece & 0x7fff;
        uint8_t *exact = fuzz_exact(&in, &size);

        fuzz.refuse &= !(piece & 0x8000);
        err = fuzz_read(&fuzz, exact, size);
        free(exact);
        fuzz_answer(&fuzz);
        if (!err)
            err = nqi_session_tick(&fuzz.session, NQI_NS_PER_S);
        nqi_session_taken_by_user(&fuzz.session, fuzz.messages, fuzz.bytes, 0);
    }
    nqi_session_fini(&fuzz.session, NQ_REASON_LINK_LOST);
    MUST(!fuzz.reserved);
    return 0;
}

/* ---- seeds ---- */

static void add_frame(const void *payload, size_t len)
{
    uint8_t head[NQI_OLDER_HEAD];

    nqi_older_write_head(head, len);
    fuzz_add(head, sizeof(head));
    fuzz_add(payload, len);
}

static void seed(unsigned how, size_t size)
{
    static const uint8_t bytes[FUZZ_MOST];
    size_t from;

    fuzz_add_u8(how);
    from = fuzz_added();
    if (how & 1)
        add_frame(&fuzz_theirs, sizeof(fuzz_theirs));
    add_frame(bytes, size);
    add_frame("hello", 5);
    add_frame(&fuzz_theirs, sizeof(fuzz_theirs));
    fuzz_add_length(from);
    fuzz_seed();
}

void fuzz_seeds(void)
{
    for (unsigned how = 0; how < 8; how++) {
        seed(how, 16);
        seed(how, FUZZ_MOST);
    }
}

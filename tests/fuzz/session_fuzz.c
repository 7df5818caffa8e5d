/* A session whose peer and whose user do what the input says.
 *
 *     byte 0     bit 0: a client, 1: acknowledges consumption, 2: a small window, 3: memory is
 *                refused at first, 4: no stage, 5: the client is welcomed
 *     then       operations: a byte, and what it needs (enum below)
 *
 * Whatever comes, each put ends once, what is set aside is given back, and nothing is read or
 * written that is not there. */
#include "core/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/records.h"
#include <string.h>

#define FUZZ_PUTS 64
#define FUZZ_BUFS 16

enum {
    OP_RECEIVE, /* u16 length, bytes */
    OP_COMMIT,  /* the same, through the space where there is some */
    OP_PUT,     /* u8 how, u16 size */
    OP_PULL,    /* u8: buffers taken */
    OP_TAKE,    /* u8: messages */
    OP_TIME,    /* u16: ms */
    OP_REFUSE,  /* the other answer to reservations from now on */
    OP_LOSE,    /* u8: bit 0: say good-bye, else the link is lost; 1: the session goes on */
    OPS
};

struct fuzz_put {
    struct nqi_tx tx;
    bool open;
};

struct fuzz {
    struct nqi_session session;
    struct nqi_session_conf conf;
    struct nqi_buf in;
    bool client, greets, refuse;
    int64_t now;
    uint64_t reserved, untracked, taken, taken_bytes;
    struct nqi_fifo inbox;
    struct fuzz_put puts[FUZZ_PUTS];
};

static const unsigned char fuzz_bytes[40000];

/* ---- events ---- */

static void fuzz_deliver(void *arg, nq_msg *msg)
{
    struct fuzz *fuzz = arg;

    nqi_fifo_push(&fuzz->inbox, &msg->node);
}

static bool fuzz_begin(void *arg, struct nqi_tx *tx)
{
    (void)arg;
    MUST(NQI_CONTAINER(tx, struct fuzz_put, tx)->open);
    return true;
}

static void fuzz_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason)
{
    struct fuzz_put *put = NQI_CONTAINER(tx, struct fuzz_put, tx);

    (void)arg;
    (void)outcome;
    MUST(reason < NQ_REASONS);
    MUST(put->open);
    put->open = false;
    nqi_msg_unref(put->tx.msg);
}

static void fuzz_settle_untracked(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason)
{
    struct fuzz *fuzz = arg;

    (void)outcome;
    (void)reason;
    MUST(count <= fuzz->untracked);
    fuzz->untracked -= count;
}

static bool fuzz_reserve(void *arg, uint64_t bytes)
{
    struct fuzz *fuzz = arg;

    if (fuzz->refuse)
        return false;
    fuzz->reserved += bytes;
    return true;
}

static void fuzz_unreserve(void *arg, uint64_t bytes)
{
    struct fuzz *fuzz = arg;

    MUST(bytes <= fuzz->reserved);
    fuzz->reserved -= bytes;
}

static const struct nqi_session_events fuzz_events = {
    .deliver = fuzz_deliver,
    .begin = fuzz_begin,
    .settle = fuzz_settle,
    .settle_untracked = fuzz_settle_untracked,
    .reserve = fuzz_reserve,
    .unreserve = fuzz_unreserve,
};

/* ---- operations ---- */

static struct nqi_hello fuzz_hello(void)
{
    struct nqi_hello hello = {
        .version_min = 1, .version_max = 1, .max_message = 1 << 20, .expiry_ns = NQI_NS_PER_S};

    memset(hello.id.bytes, 7, sizeof(hello.id.bytes));
    return hello;
}

static void fuzz_pull_one(struct fuzz *fuzz)
{
    struct nqt_buf *bufs[1];

    MUST(nqi_session_pull(&fuzz->session, true, bufs, 1) == 1);
    bufs[0]->ops->unref(bufs[0]);
    nqi_session_taken(&fuzz->session, 1);
}

/* Of the records that were handed over the peer has so many. */
static uint64_t fuzz_received(const struct fuzz *fuzz, uint8_t part)
{
    const struct nqi_session *session = &fuzz->session;

    return session->acked + (session->handed - session->acked) * part / 255;
}

static void fuzz_attach_server(struct fuzz *fuzz, bool resumes, uint8_t part)
{
    static const uint8_t key[NQI_KEY];
    struct nqi_session *session = &fuzz->session;
    struct nqi_attach attach = {.hello = fuzz_hello(),
                                .auth = {.method = resumes ? NQI_AUTH_RESUME : NQI_AUTH_OPEN,
                                         .counter = session->name.counter + 1,
                                         .credit_messages = 20,
                                         .credit_bytes = 30000}};

    attach.auth.received = resumes ? fuzz_received(fuzz, part) : 0;
    if (resumes)
        MUST(!nqi_session_resume(session, &attach, fuzz->now));
    else
        nqi_session_begin(session, &attach, &attach.hello.id, key,
                          attach.auth.method == NQI_AUTH_PSK, fuzz->now);
}

static void fuzz_attach_client(struct fuzz *fuzz, bool resumes, uint8_t part)
{
    struct nqi_session *session = &fuzz->session;
    struct nqi_welcome welcome = {.kind = resumes ? NQI_WELCOME_RESUMED : NQI_WELCOME_NEW,
                                  .session = resumes ? session->name.id : fuzz->conf.id,
                                  .received = resumes ? fuzz_received(fuzz, part) : 0,
                                  .credit_messages = 20,
                                  .credit_bytes = 30000,
                                  .expiry_ns = NQI_NS_PER_S};
    struct nqi_hello hello = fuzz_hello();
    uint8_t raw[NQI_HELLO_RECORD];

    nqi_session_connect(session, &(struct nqi_psk){0}, fuzz_bytes, 0, fuzz->now);
    if (!fuzz->greets)
        return;
    fuzz_pull_one(fuzz);
    nqi_hello_write(raw, NQI_CHALLENGE, &hello);
    MUST(!nqi_session_receive(session, raw, NQI_HELLO_RECORD, fuzz->now));
    fuzz_pull_one(fuzz);
    nqi_welcome_write(raw, &welcome, resumes ? session->name.key : welcome.key,
                      session->greeting.transcript, session->greeting.proof);
    MUST(!nqi_session_receive(session, raw, NQI_WELCOME_RECORD, fuzz->now));
}

static void fuzz_attach(struct fuzz *fuzz, bool resumes, uint8_t part)
{
    if (fuzz->client)
        fuzz_attach_client(fuzz, resumes, part);
    else
        fuzz_attach_server(fuzz, resumes, part);
}

/* Messages of a session that nobody took are of no account in the next. */
static void fuzz_drop_inbox(struct fuzz *fuzz)
{
    struct nqi_node *node;

    while ((node = nqi_fifo_pop(&fuzz->inbox))) {
        nq_msg *msg = NQI_CONTAINER(node, nq_msg, node);

        fuzz_unreserve(fuzz, (uint64_t)msg->deadline_ns);
        nqi_msg_unref(msg);
    }
    fuzz->taken = fuzz->taken_bytes = 0;
}

/* @param how  bit 1: the session goes on; the rest: what the peer has of it */
static void fuzz_lose(struct fuzz *fuzz, uint8_t how)
{
    bool kept = how & 2 && nqi_session_is_resumable(&fuzz->session);

    nqi_session_down(&fuzz->session);
    if (!kept) {
        fuzz_drop_inbox(fuzz);
        nqi_session_restart(&fuzz->session, NQ_REASON_LINK_LOST);
        MUST(!fuzz->reserved);
    }
    fuzz_attach(fuzz, kept, how);
}

static void fuzz_receive(struct fuzz *fuzz, bool direct)
{
    size_t len = nqi_buf_u16(&fuzz->in), room = 0;
    unsigned char *space;
    uint8_t *exact;
    nq_err err;

    len = NQI_MIN(len, nqi_buf_left(&fuzz->in));
    if (direct)
        room = nqi_session_space(&fuzz->session, &space);
    if (room) {
        len = NQI_MIN(len, room);
        if (len)
            memcpy(space, nqi_buf_span(&fuzz->in, len), len);
        err = nqi_session_commit(&fuzz->session, len, fuzz->now);
    } else {
        exact = malloc(len ? len : 1);
        MUST(exact);
        if (len)
            memcpy(exact, nqi_buf_span(&fuzz->in, len), len);
        err = nqi_session_receive(&fuzz->session, exact, len, fuzz->now);
        free(exact);
    }
    MUST(err <= NQ_OK);
    if (err)
        fuzz_lose(fuzz, err == NQ_ERR_NOMEM ? 2 : 0);
}

static struct fuzz_put *fuzz_free_put(struct fuzz *fuzz)
{
    for (size_t i = 0; i < FUZZ_PUTS; i++)
        if (!fuzz->puts[i].open)
            return &fuzz->puts[i];
    return NULL;
}

static void fuzz_put(struct fuzz *fuzz)
{
    uint8_t how = nqi_buf_u8(&fuzz->in);
    size_t size = nqi_buf_u16(&fuzz->in) % sizeof(fuzz_bytes);
    struct fuzz_put *put = fuzz_free_put(fuzz);
    nq_msg *msg;

    if (!put)
        return;
    MUST(!nq_msg_new(fuzz_bytes, size, &msg));
    nq_msg_set_control(msg, how & 1);
    if (how & 2)
        MUST(!nq_msg_set_meta(msg, "k", fuzz_bytes, size % 5000));
    if (how & 4)
        msg->deadline_ns = fuzz->now + NQI_NS_PER_MS;
    if (how & 8 && nqi_session_put_now(&fuzz->session, msg, NULL)) {
        fuzz->untracked++;
        nqi_msg_unref(msg);
        return;
    }
    *put = (struct fuzz_put){.tx = {.msg = msg, .awaited = how & 16}, .open = true};
    if (!(how & 32) || !nqi_session_put_now(&fuzz->session, msg, &put->tx))
        nqi_session_put(&fuzz->session, &put->tx);
}

static void fuzz_pull(struct fuzz *fuzz)
{
    struct nqt_buf *bufs[FUZZ_BUFS];
    uint32_t take = nqi_buf_u8(&fuzz->in);
    uint32_t n = nqi_session_pull(&fuzz->session, take & 1, bufs, FUZZ_BUFS);

    MUST(n <= FUZZ_BUFS);
    for (uint32_t i = 0; i < n; i++)
        bufs[i]->ops->unref(bufs[i]);
    nqi_session_taken(&fuzz->session, NQI_MIN(n, take));
}

static void fuzz_take(struct fuzz *fuzz)
{
    uint32_t n = nqi_buf_u8(&fuzz->in);
    struct nqi_node *node;
    uint64_t seq = 0;

    while (n-- && (node = nqi_fifo_pop(&fuzz->inbox))) {
        nq_msg *msg = NQI_CONTAINER(node, nq_msg, node);

        fuzz->taken++;
        fuzz->taken_bytes += msg->stream.nbytes;
        seq = msg->seq;
        fuzz_unreserve(fuzz, (uint64_t)msg->deadline_ns);
        nqi_msg_unref(msg);
    }
    if (seq)
        nqi_session_taken_by_user(&fuzz->session, fuzz->taken, fuzz->taken_bytes, seq);
}

static void fuzz_time(struct fuzz *fuzz)
{
    fuzz->now += nqi_buf_u16(&fuzz->in) * NQI_NS_PER_MS;
    if (nqi_session_deadline(&fuzz->session) > fuzz->now)
        return;
    if (nqi_session_tick(&fuzz->session, fuzz->now))
        fuzz_lose(fuzz, 2);
    else
        MUST(nqi_session_deadline(&fuzz->session) > fuzz->now);
}

static void fuzz_end_link(struct fuzz *fuzz)
{
    uint8_t how = nqi_buf_u8(&fuzz->in);

    if (how & 1)
        nqi_session_close(&fuzz->session, fuzz->now);
    else
        fuzz_lose(fuzz, how);
}

static void fuzz_step(struct fuzz *fuzz)
{
    uint8_t op = nqi_buf_u8(&fuzz->in) % OPS;

    switch (op) {
    case OP_RECEIVE:
    case OP_COMMIT:
        fuzz_receive(fuzz, op == OP_COMMIT);
        break;
    case OP_PUT:
        fuzz_put(fuzz);
        break;
    case OP_PULL:
        fuzz_pull(fuzz);
        break;
    case OP_TAKE:
        fuzz_take(fuzz);
        break;
    case OP_TIME:
        fuzz_time(fuzz);
        break;
    case OP_REFUSE:
        fuzz->refuse = !fuzz->refuse;
        break;
    default:
        fuzz_end_link(fuzz);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct fuzz fuzz;
    uint8_t how;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    how = nqi_buf_u8(&fuzz.in);
    fuzz.now = NQI_NS_PER_S;
    fuzz.client = how & 1;
    fuzz.refuse = how & 8;
    fuzz.greets = how & 32;
    fuzz.conf = (struct nqi_session_conf){.max_message = 100000,
                                          .window_bytes = how & 4 ? 5000 : 1 << 20,
                                          .window_messages = how & 4 ? 4 : 1000,
                                          .record = 4096,
                                          .coalesce = how & 16 ? 0 : 8192,
                                          .keepalive_ns = NQI_NS_PER_S,
                                          .expiry_ns = NQI_NS_PER_S,
                                          .ack_consumed = how & 2};
    memset(fuzz.conf.id.bytes, 9, sizeof(fuzz.conf.id.bytes));
    nqi_fifo_init(&fuzz.inbox);
    nqi_session_init(&fuzz.session, &fuzz.conf, &fuzz_events, &fuzz);
    fuzz_attach(&fuzz, false, 0);
    while (nqi_buf_left(&fuzz.in) && !fuzz.in.bad)
        fuzz_step(&fuzz);
    fuzz_drop_inbox(&fuzz);
    nqi_session_fini(&fuzz.session, NQ_REASON_LOCAL_CLOSE);
    for (size_t i = 0; i < FUZZ_PUTS; i++)
        MUST(!fuzz.puts[i].open);
    MUST(!fuzz.untracked && !fuzz.reserved && !fuzz.session.in_flight);
    return 0;
}

/* ---- seeds ---- */

static void seed_receive(unsigned op, uint8_t type)
{
    size_t from;

    for (size_t i = 0; i < NQI_LEN(fuzz_records); i++) {
        if (fuzz_records[i].type != type)
            continue;
        fuzz_add_u8(op);
        from = fuzz_added();
        fuzz_add_record(&fuzz_records[i]);
        fuzz_add_length(from);
    }
}

/* Some of everything. */
static void seed_conversation(unsigned op)
{
    static const uint8_t ops[] = {2, 16,  0, 100, 2,  32, 1, 0, 2, 8, 0,  50, 2, 1, 40, 0,
                                  3, 255, 5, 0,   11, 4,  5, 6, 5, 0, 20, 3,  1, 4, 200};
    static const uint8_t end[] = {7, 130, 3, 255, 7, 2, 7, 0, 7, 1, 3, 255, 5, 100, 0};

    fuzz_add(ops, sizeof(ops));
    seed_receive(op, NQI_DATA);
    seed_receive(op, NQI_PING);
    seed_receive(op, NQI_ACK);
    fuzz_add(ops, sizeof(ops));
    seed_receive(OP_RECEIVE, NQI_BYE);
    fuzz_add(ops, sizeof(ops));
    fuzz_add(end, sizeof(end));
}

void fuzz_seeds(void)
{
    static const uint8_t pull[] = {OP_PULL, 255, OP_RECEIVE};
    size_t from;

    for (unsigned how = 0; how < 64; how++)
        for (unsigned op = OP_RECEIVE; op <= OP_COMMIT; op++) {
            fuzz_add_u8(how);
            if ((how & 33) == 1) { /* a client that is to be greeted */
                fuzz_add(pull, sizeof(pull));
                from = fuzz_added();
                fuzz_add_hello(NQI_CHALLENGE);
                fuzz_add_length(from);
            }
            seed_conversation(op);
            fuzz_seed();
        }
}

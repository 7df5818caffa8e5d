/* What comes over a broker: heads, reasons and topics, of which what is accepted is what would be
 * written, and bodies, which become buffers.
 *
 *     u16 length, bytes: a body; and so on.  All bytes in one are also read as head, reason, topic
 */
#include "plugins/mqtt/mqtt.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static void fuzz_head(const uint8_t *bytes, size_t len)
{
    uint8_t again[MQTT_HEAD];
    struct mqtt_head head;

    if (!mqtt_head_read(bytes, len, &head))
        return;
    MUST(head.type >= MQTT_OPEN && head.type <= MQTT_CLAIM);
    mqtt_head_write(again, &head);
    MUST(!memcmp(again, bytes, MQTT_HEAD));
}

static void fuzz_reason(const uint8_t *bytes, size_t len)
{
    uint8_t again[MQTT_CONTROL];
    char text[MQTT_CAUSE_MAX], second[MQTT_CAUSE_MAX];
    int code = 1, other = 1;

    mqtt_reason_read(bytes, len, &code, text);
    MUST(code == 0 || (code <= NQT_E_NOMEM && code >= NQT_E_INVAL));
    MUST(strlen(text) < sizeof(text));
    len = mqtt_reason_write(again, code, text);
    MUST(len <= MQTT_CONTROL - MQTT_HEAD);
    mqtt_reason_read(again, len, &other, second);
    MUST(other == code || (!code && other == NQT_E_LOST));
    MUST(!strncmp(text, second, strlen(second)));
}

static void fuzz_topic(const uint8_t *bytes, size_t len)
{
    char topic[MQTT_TOPIC_MAX];
    uint64_t id = 0, again = 0;

    if (!mqtt_topic_id((const char *)bytes, len, &id))
        return;
    mqtt_topic(topic, "server", "up", id);
    MUST(mqtt_topic_id(topic, strlen(topic), &again) && again == id);
}

/* ---- bodies ---- */

static void *fuzz_mem(nqt_core *core, void *old, size_t len)
{
    (void)core;
    if (len)
        return realloc(old, len);
    free(old);
    return NULL;
}

/* A buffer is read, and let go of: each segment is there. */
static uint64_t fuzz_use(struct nqt_buf *buf)
{
    uint64_t len = 0;

    for (uint32_t i = 0; i < buf->nseg; i++) {
        fuzz_touch(buf->seg[i].iov_base, buf->seg[i].iov_len);
        len += buf->seg[i].iov_len;
    }
    MUST(len == buf->len && len <= MQTT_MESSAGE_MAX);
    buf->ops->unref(buf);
    return len;
}

/* @return 0 or NQT_E_* */
static int fuzz_body(struct nqtp_link *link, struct mqtt_rx *rx, uint64_t *used)
{
    struct nqt_buf *bufs[3];
    size_t at = 0;
    int n = 0;

    while (at < rx->len && n >= 0) {
        n = mqtt_unpack(link, rx, &at, bufs, NQI_LEN(bufs));
        MUST(n <= (int)NQI_LEN(bufs) && at <= rx->len);
        for (int i = 0; i < n; i++)
            *used += fuzz_use(bufs[i]);
    }
    return n < 0 ? n : 0;
}

/* In place of the one that gives the message back to paho, which is not here. */
void mqtt_rx_unref(struct mqtt_rx *rx)
{
    if (atomic_fetch_sub(&rx->refs, 1) != 1)
        return;
    free((void *)(uintptr_t)rx->body);
    free(rx);
}

static struct mqtt_rx *fuzz_message(struct nqi_buf *in)
{
    struct mqtt_rx *rx = calloc(1, sizeof(*rx));

    MUST(rx);
    rx->len = nqi_buf_u16(in);
    rx->body = fuzz_exact(in, &rx->len);
    atomic_init(&rx->refs, 1);
    return rx;
}

/* One link and its bodies.  What came is let go of when the last of its buffers is. */
static void fuzz_bodies(struct nqi_buf *in, size_t most)
{
    static const struct nqt_host host = {.size = sizeof(host), .mem = fuzz_mem};
    struct nqtp_mod mod = {.host = &host};
    struct nqtp_ep ep = {.mod = &mod};
    struct nqtp_link link = {.ep = &ep};
    uint64_t used = 0;
    int rc = 0;

    while (nqi_buf_left(in) && !rc) {
        struct mqtt_rx *rx = fuzz_message(in);

        rc = fuzz_body(&link, rx, &used);
        MUST(!rc || rc == NQT_E_PROTOCOL);
        mqtt_rx_unref(rx);
    }
    mqtt_part_drop(&link);
    MUST(used <= most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len), again = in;
    size_t all = len;
    uint8_t *exact = fuzz_exact(&in, &len);

    fuzz_head(exact, len);
    fuzz_reason(exact, len);
    fuzz_topic(exact, len);
    free(exact);
    fuzz_bodies(&again, all);
    return 0;
}

/* A body: a piece for each length, the last one with or without the end of its buffer. */
static void seed_body(const uint32_t *lens, size_t n, bool ends)
{
    size_t from = fuzz_added();
    uint8_t raw[MQTT_PIECE];

    for (size_t i = 0; i < n; i++) {
        mqtt_store_u32(raw, lens[i] | (ends || i + 1 < n ? MQTT_LAST : 0));
        fuzz_add(raw, sizeof(raw));
        for (uint32_t k = 0; k < lens[i]; k++)
            fuzz_add_u8('x');
    }
    fuzz_add_length(from);
}

void fuzz_seeds(void)
{
    uint8_t raw[MQTT_CONTROL];
    char topic[MQTT_TOPIC_MAX];

    for (unsigned type = MQTT_OPEN; type <= MQTT_CLAIM; type++) {
        const struct mqtt_head head = {.type = (enum mqtt_type)type,
                                       .ack_now = type % 2,
                                       .credit = 32,
                                       .number = 7,
                                       .client = 1,
                                       .server = UINT64_MAX,
                                       .seq = 9,
                                       .ack = 8};

        mqtt_head_write(raw, &head);
        fuzz_add(raw, MQTT_HEAD);
        fuzz_add_text("12345678");
        fuzz_seed();
    }
    seed_body((uint32_t[]){0, 5, 100, 3, 7}, 5, false);
    seed_body((uint32_t[]){50}, 1, false);
    seed_body((uint32_t[]){1}, 1, true);
    fuzz_seed();
    fuzz_add(raw, mqtt_reason_write(raw, NQT_E_PROTOCOL, "because\n"));
    fuzz_seed();
    mqtt_topic(topic, "server", "up", UINT64_C(0x123456789abcdef0));
    fuzz_add_text(topic);
    fuzz_seed();
}

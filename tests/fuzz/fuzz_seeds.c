/* Writes the inputs that fuzzing begins with: fuzz_seeds frame|session FOLDER.
 *
 * Records of each kind, greetings, and conversations in the form of session_fuzz.c. */
#include "core/attach.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *seeds_folder;
static unsigned seeds_count;

static uint8_t seed[1 << 16];
static size_t seed_len;

static void add(const void *data, size_t len)
{
    if (len > sizeof(seed) - seed_len)
        abort();
    memcpy(seed + seed_len, data, len);
    seed_len += len;
}

static void add_byte(unsigned byte)
{
    add(&(uint8_t){(uint8_t)byte}, 1);
}

static void add_u16(unsigned number)
{
    uint8_t raw[2];

    nqi_store_u16(raw, (uint16_t)number);
    add(raw, 2);
}

static void write_seed(void)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/seed-%03u", seeds_folder, seeds_count++);
    file = fopen(path, "wb");
    if (!file || fwrite(seed, 1, seed_len, file) != seed_len || fclose(file)) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    seed_len = 0;
}

static void add_record(uint8_t type, uint8_t flags, uint16_t aux, uint32_t length, uint64_t total)
{
    uint8_t head[NQI_HEAD_BIG];

    add(head, nqi_head_write(head, type, flags, aux, length, total));
    for (uint32_t i = 0; i < length; i++)
        add_byte(0);
}

static void add_hello(enum nqi_record_type type)
{
    struct nqi_hello hello = {
        .version_min = 1, .version_max = 1, .max_message = 1 << 20, .keepalive_ns = NQI_NS_PER_S};
    uint8_t raw[NQI_HELLO_RECORD];

    memset(hello.id.bytes, 5, sizeof(hello.id.bytes));
    memset(hello.incarnation.bytes, 6, sizeof(hello.incarnation.bytes));
    nqi_hello_write(raw, type, &hello);
    add(raw, sizeof(raw));
}

static const struct {
    uint8_t type, flags;
    uint16_t aux;
    uint32_t length;
    uint64_t total;
} records[] = {
    {NQI_REJECT, 0, 3, 10, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 0, 0, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 0, 100, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END | NQI_DATA_ACKNOW, 0, 3000, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_BIG, 0, 100, 9000},
    {NQI_DATA, 0, 0, 4096, 0},
    {NQI_DATA, 0, 0, 4704, 0},
    {NQI_DATA, NQI_DATA_END, 0, 100, 0},
    {NQI_ACK, 0, 0, 24, 0},
    {NQI_PING, 0, 0, 8, 0},
    {NQI_PONG, 0, 0, 8, 0},
    {NQI_BYE, 0, 0, 8, 0},
    {NQI_BYE_ACK, 0, 0, 0, 0},
    {NQI_AUTH, 0, 1, 128, 0},
    {NQI_AUTH, 0, 2, 128, 0},
    {NQI_WELCOME, 0, 0, 160, 0},
    {NQI_WELCOME, 0, 1, 160, 0},
    {NQI_GOAWAY, 0, 0, 0, 0},
};

static void frame_seeds(void)
{
    for (size_t i = 0; i < NQI_LEN(records); i++) {
        add_record(records[i].type, records[i].flags, records[i].aux, records[i].length,
                   records[i].total);
        write_seed();
    }
    add_hello(NQI_HELLO);
    write_seed();
}

/* What was added since `from` becomes one operation that receives it. */
static void as_received(size_t from, unsigned op)
{
    size_t len = seed_len - from;

    add_byte(0);
    add_u16(0);
    memmove(seed + from + 3, seed + from, len);
    seed[from] = (uint8_t)op;
    nqi_store_u16(seed + from + 1, (uint16_t)len);
}

/* Some of everything that session_fuzz.c knows. */
static void add_conversation(unsigned op)
{
    static const uint8_t ops[] = {2, 16,  0, 100, 2,  32, 1, 0, 2, 8, 0,  50, 2, 1, 40, 0,
                                  3, 255, 5, 0,   11, 4,  5, 6, 5, 0, 20, 3,  1, 4, 200};
    size_t from;

    add(ops, sizeof(ops));
    for (size_t i = 1; i < 8; i++) {
        from = seed_len;
        add_record(NQI_DATA, records[i].flags, records[i].aux, records[i].length, records[i].total);
        as_received(from, op);
    }
    from = seed_len;
    add_record(NQI_PING, 0, 0, 8, 0);
    add_record(NQI_ACK, 0, 0, 24, 0);
    as_received(from, op);
    add(ops, sizeof(ops));
    from = seed_len;
    add_record(NQI_BYE, 0, 0, 8, 0);
    seed[seed_len - 1] = 7; /* data records */
    as_received(from, 0);
    add(ops, sizeof(ops));
    add(((const uint8_t[]){7, 130, 3, 255, 7, 2, 7, 0, 7, 1, 3, 255, 5, 100, 0}), 15);
}

static void session_seeds(void)
{
    for (unsigned how = 0; how < 64; how++)
        for (unsigned op = 0; op < 2; op++) {
            add_byte(how);
            if ((how & 33) == 1) { /* a client that is to be greeted */
                size_t from = seed_len;

                add(((const uint8_t[]){3, 255}), 2);
                from = seed_len;
                add_hello(NQI_CHALLENGE);
                as_received(from, 0);
            }
            add_conversation(op);
            write_seed();
        }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: fuzz_seeds frame|session FOLDER\n");
        return 2;
    }
    seeds_folder = argv[2];
    if (!strcmp(argv[1], "frame"))
        frame_seeds();
    else
        session_seeds();
    return EXIT_SUCCESS;
}

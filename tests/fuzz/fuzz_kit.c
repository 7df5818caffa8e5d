/* See fuzz.h. */
#include "tests/fuzz/fuzz.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *kit_folder;
static unsigned kit_count;
static uint8_t kit_seed[1 << 16];
static size_t kit_len;

void fuzz_add(const void *data, size_t len)
{
    MUST(len <= sizeof(kit_seed) - kit_len);
    if (len)
        memcpy(kit_seed + kit_len, data, len);
    kit_len += len;
}

void fuzz_add_u8(unsigned number)
{
    fuzz_add(&(uint8_t){(uint8_t)number}, 1);
}

void fuzz_add_u16(unsigned number)
{
    uint8_t raw[2];

    nqi_store_u16(raw, (uint16_t)number);
    fuzz_add(raw, sizeof(raw));
}

void fuzz_add_text(const char *text)
{
    fuzz_add(text, strlen(text));
}

size_t fuzz_added(void)
{
    return kit_len;
}

void fuzz_add_length(size_t from)
{
    size_t len = kit_len - from;

    fuzz_add_u16(0);
    memmove(kit_seed + from + 2, kit_seed + from, len);
    nqi_store_u16(kit_seed + from, (uint16_t)len);
}

void fuzz_seed(void)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/seed-%03u", kit_folder, kit_count++);
    file = fopen(path, "wb");
    if (!file || fwrite(kit_seed, 1, kit_len, file) != kit_len || fclose(file)) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    kit_len = 0;
}

uint8_t *fuzz_exact(struct nqi_buf *in, size_t *len)
{
    uint8_t *exact;

    *len = NQI_MIN(*len, nqi_buf_left(in));
    exact = malloc(*len ? *len : 1);
    MUST(exact);
    if (*len)
        memcpy(exact, nqi_buf_span(in, *len), *len);
    return exact;
}

void fuzz_touch(const void *data, size_t len)
{
    static volatile uint8_t sum;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum ^ ((const uint8_t *)data)[i]);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc != 3 || strcmp((*argv)[1], "--seeds") != 0)
        return 0;
    kit_folder = (*argv)[2];
    (void)mkdir(kit_folder, 0777);
    fuzz_seeds();
    exit(EXIT_SUCCESS);
}

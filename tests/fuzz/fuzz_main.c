/* An entry point without libFuzzer and AFL++: each argument is a file, which is replayed; `--seeds
 * FOLDER` writes what fuzzing begins with. */
#include "tests/fuzz/fuzz.h"
#include <stdio.h>

/* The whole file in exactly the memory that it takes, so that a tool sees a byte too many. */
static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size = -1;

    if (file && !fseek(file, 0, SEEK_END))
        size = ftell(file);
    if (size >= 0 && !fseek(file, 0, SEEK_SET))
        data = malloc(size ? (size_t)size : 1);
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    *len = (size_t)size;
    return data;
}

int main(int argc, char **argv)
{
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        size_t len;
        uint8_t *data = read_file(argv[i], &len);

        LLVMFuzzerTestOneInput(data, len);
        free(data);
    }
    printf("%d inputs\n", argc - 1);
    return EXIT_SUCCESS;
}

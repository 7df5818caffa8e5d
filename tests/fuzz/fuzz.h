/* What every entry point (x_fuzz.c) has and uses.
 *
 *     libFuzzer, AFL++ or fuzz_main.c --bytes--> LLVMFuzzerTestOneInput() --> the code under test
 *     x_fuzz --seeds FOLDER --> fuzz_seeds() --fuzz_add(), fuzz_seed()--> files to begin with
 *
 * An input is read with core/buf.h: what is missing at its end is 0. */
#ifndef NQTEST_FUZZ_H
#define NQTEST_FUZZ_H

#include "core/buf.h"
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* What must hold whatever the input says. */
#define MUST(x)      \
    do {             \
        if (!(x))    \
            abort(); \
    } while (0)

/* Always 0.  What must not be ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
/* Once, first: `--seeds FOLDER` writes the seeds and exits. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Of each entry point: the inputs that fuzzing begins with, made by the code that writes what is
 * read there, so that each is known to be right. */
void fuzz_seeds(void);

/* For fuzz_seeds(): append to the seed, and write it to a file. */
void fuzz_add(const void *data, size_t len);
void fuzz_add_u8(unsigned number);
void fuzz_add_u16(unsigned number);
void fuzz_add_text(const char *text);
void fuzz_seed(void);
/* What was added since `from` gets its length in front, as a u16. */
size_t fuzz_added(void);
void fuzz_add_length(size_t from);

/* The next `len` bytes of an input, or what is left of them, in memory of exactly that size, so
 * that a tool sees each byte too many.  @param len [in/out]  @return owned, ends with free() */
uint8_t *fuzz_exact(struct nqi_buf *in, size_t *len);

/* Read each of these bytes. */
void fuzz_touch(const void *data, size_t len);

#endif

/* The entry point that libFuzzer calls, and who replays files with it. */
#ifndef NQTEST_FUZZ_H
#define NQTEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Always 0.  What must not be ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif

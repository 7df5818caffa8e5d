/* Is it UTF-8, as the Unicode standard has it: no longer forms, no surrogates, nothing above
 * U+10FFFF. Pure.  Thread: any.  Blocks: no. */
#ifndef NQ_CORE_UTF8_H
#define NQ_CORE_UTF8_H

#include "core/base.h"

/* @return the first byte from `at` on that is not ASCII, or `end` */
const uint8_t *nqi_utf8_skip_ascii(const uint8_t *at, const uint8_t *end);

/* All of it, with whole characters. */
bool nqi_utf8_is(const uint8_t *at, const uint8_t *end);

#endif

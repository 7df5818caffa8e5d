/* Writing JSON: for --json, and for the configurations that `bench` makes. */
#ifndef NQ_TOOLS_JSON_H
#define NQ_TOOLS_JSON_H

#include "tools/tool.h"
#include <stdio.h>

/* Write `len` bytes as a JSON string with its quotes.  What is not UTF-8 becomes U+FFFD. */
void nqi_json_bytes(FILE *out, const char *text, size_t len);

/* The same for text with a NUL at its end; NULL is written as null. */
void nqi_json_text(FILE *out, const char *text);

/* Write a UUID as a JSON string. */
void nqi_json_uuid(FILE *out, const nq_uuid *id);

#endif

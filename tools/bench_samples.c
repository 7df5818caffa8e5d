/* How long each message of `netqueue bench` took.  All are kept, not a histogram: sorting is exact
 * and happens after the clock has stopped. */
#include "tools/bench.h"
#include <stdlib.h>
#include <string.h>

bool nqi_samples_init(struct nqi_samples *samples, uint64_t cap)
{
    *samples = (struct nqi_samples){.cap = cap};
    samples->ns = malloc((cap + 1) * sizeof(*samples->ns));
    /* Touched now: a page fault later would be in one of them. */
    if (samples->ns)
        memset(samples->ns, 0, (cap + 1) * sizeof(*samples->ns));
    return samples->ns;
}

void nqi_samples_add(struct nqi_samples *samples, int64_t ns)
{
    if (samples->n < samples->cap)
        samples->ns[samples->n++] = ns < 0 ? 0 : ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static int samples_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* The smallest sample that at least the share `per_mille` of all does not exceed, in us. */
static double samples_percentile(const struct nqi_samples *samples, uint64_t per_mille)
{
    uint64_t rank = (samples->n * per_mille + 999) / 1000;

    return samples->n ? (double)samples->ns[rank ? rank - 1 : 0] / 1e3 : 0;
}

void nqi_samples_end(struct nqi_samples *samples, struct nqi_bench_result *ret)
{
    qsort(samples->ns, samples->n, sizeof(*samples->ns), samples_order);
    ret->p50_us = samples_percentile(samples, 500);
    ret->p99_us = samples_percentile(samples, 990);
    ret->p999_us = samples_percentile(samples, 999);
    nqi_samples_fini(samples);
}

void nqi_samples_fini(struct nqi_samples *samples)
{
    free(samples->ns);
    *samples = (struct nqi_samples){.n = 0};
}

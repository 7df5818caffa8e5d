/* Edit distance with swaps of neighbours, over three rows on the stack: words are short, and a
 * wrong word is looked up once before the program ends. */
#include "core/near.h"
#include <string.h>

struct near_rows {
    size_t two_up[NQI_NEAR_CAP + 1], up[NQI_NEAR_CAP + 1], now[NQI_NEAR_CAP + 1];
};

/* One cell: `i` and `j` count the bytes of `a` and `b` that are dealt with. */
static size_t near_cell(const struct near_rows *rows, const char *a, const char *b, size_t i,
                        size_t j)
{
    size_t best = rows->up[j - 1] + (a[i - 1] != b[j - 1]);

    best = NQI_MIN(best, rows->up[j] + 1);
    best = NQI_MIN(best, rows->now[j - 1] + 1);
    if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        best = NQI_MIN(best, rows->two_up[j - 2] + 1);
    return best;
}

size_t nqi_near_distance(const char *a, const char *b)
{
    size_t na = strnlen(a, NQI_NEAR_CAP), nb = strnlen(b, NQI_NEAR_CAP);
    struct near_rows rows = {0};

    for (size_t j = 0; j <= nb; j++)
        rows.now[j] = j;
    for (size_t i = 1; i <= na; i++) {
        memcpy(rows.two_up, rows.up, sizeof(rows.up));
        memcpy(rows.up, rows.now, sizeof(rows.now));
        rows.now[0] = i;
        for (size_t j = 1; j <= nb; j++)
            rows.now[j] = near_cell(&rows, a, b, i, j);
    }
    return rows.now[nb];
}

void nqi_near_try(struct nqi_near *near, const char *word)
{
    size_t distance = nqi_near_distance(near->text, word);

    if (near->best && distance >= near->distance)
        return;
    near->best = word;
    near->distance = distance;
}

void nqi_near_try_all(struct nqi_near *near, const char *const *words)
{
    for (; *words; words++)
        nqi_near_try(near, *words);
}

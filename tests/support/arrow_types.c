/* The schemas of all types that travel: each by itself, and some of each way to nest them. */
#include "tests/support/arrow.h"

static struct ArrowSchema *leaf(const char *format)
{
    return nqtest_schema(format, 0);
}

static struct ArrowSchema *schema_batch(void)
{
    return nqtest_schema("+s", 5, leaf("l"), leaf("u"), leaf("b"),
                         nqtest_schema_dictionary("s", leaf("u")),
                         nqtest_schema("+l", 1, nqtest_schema("+s", 2, leaf("g"), leaf("Z"))));
}

static struct ArrowSchema *schema_nested(unsigned i)
{
    switch (i) {
    case 0:
        return nqtest_schema("+l", 1, leaf("i"));
    case 1:
        return nqtest_schema("+L", 1, leaf("u"));
    case 2:
        return nqtest_schema("+w:3", 1, leaf("b"));
    case 3:
        return nqtest_schema("+w:0", 1, leaf("s"));
    case 4:
        return nqtest_schema("+m", 1, nqtest_schema("+s", 2, leaf("u"), leaf("l")));
    case 5:
        return nqtest_schema("+s", 0);
    case 6:
        return nqtest_schema_dictionary("c", leaf("u"));
    case 7:
        return nqtest_schema_dictionary("L", nqtest_schema("+l", 1, leaf("f")));
    case 8:
        return nqtest_schema("+w:2", 1, nqtest_schema("+w:5", 1, leaf("n")));
    case 9:
        return nqtest_schema_dictionary("I", nqtest_schema_dictionary("C", leaf("tsm:UTC")));
    default:
        return schema_batch();
    }
}

static const char *const leaves[] = {"c",          "C",          "s",
                                     "S",          "i",          "I",
                                     "l",          "L",          "e",
                                     "f",          "g",          "d:19,10",
                                     "d:9,2,32",   "d:18,-3,64", "d:38,4,128",
                                     "d:76,0,256", "w:7",        "w:0",
                                     "tdD",        "tdm",        "tts",
                                     "ttm",        "ttu",        "ttn",
                                     "tss:",       "tsm:UTC",    "tsu:Europe/Berlin",
                                     "tsn:",       "tDs",        "tDm",
                                     "tDu",        "tDn",        "tiM",
                                     "tiD",        "tin",        "n",
                                     "b",          "z",          "Z",
                                     "u",          "U"};

#define NLEAVES ((unsigned)(sizeof(leaves) / sizeof(leaves[0])))
#define NNESTED 11u

unsigned nqtest_schemas(void)
{
    return NLEAVES + NNESTED;
}

struct ArrowSchema *nqtest_schema_of(unsigned i)
{
    return i < NLEAVES ? leaf(leaves[i]) : schema_nested(i - NLEAVES);
}

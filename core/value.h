/* One value of the configuration against one row of an option table.
 *
 * The core's keys and the options of transports are described by the same struct nqt_opt, so
 * they are read, checked and explained by the same code. */
#ifndef NQ_CORE_VALUE_H
#define NQ_CORE_VALUE_H

#include "core/base.h"
#include <jansson.h>
#include <netqueue/transport.h>

/* Types that only the core's table has. */
#define NQI_OPT_UUID 100u
#define NQI_OPT_OBJECT 101u
#define NQI_OPT_NAME 102u       /* of a transport */
#define NQI_OPT_TRANSPORTS 103u /* the array of them */

/* Flags that only the core's table has: texts that stand for a number, and a rule for lists.
 * A transport's number whose least value is -1 may be "unlimited", too. */
#define NQI_OPT_UNLIMITED 0x10000u /* "unlimited" or -1: -1 */
#define NQI_OPT_AUTO 0x20000u      /* "auto": -1 */
#define NQI_OPT_OFF 0x40000u       /* "off" or 0: 0 */
#define NQI_OPT_ABSOLUTE 0x80000u  /* LIST: of absolute paths */

#define NQI_LIST_CAP 64 /* most entries of a list */
#define NQI_WHY 512     /* room for the text that explains a refusal */

struct nqi_value {
    bool set;
    int64_t num; /* BOOL INT SIZE DURATION; ENUM: the place in `choices` */
    char *str;   /* STR PATH UUID ENUM; owned */
    char **list; /* LIST: `count` owned strings */
    size_t count;
};

/* Read `json` as what `opt` describes.
 * @param folder  absolute; relative paths count from there
 * @param ret     [out] written on NQ_OK only; ends with nqi_value_fini()
 * @param why     [out] on NQ_ERR_CONFIG: "must be ..., not ..."
 * @return NQ_OK, NQ_ERR_CONFIG, NQ_ERR_NOMEM.  Thread: any.  Blocks: no. */
NQ_MUST_CHECK nq_err nqi_value_read(const struct nqt_opt *opt, const json_t *json,
                                    const char *folder, struct nqi_value *ret, char why[NQI_WHY]);

/* The same for opt->def; without a default `ret` becomes a value that is not set. */
NQ_MUST_CHECK nq_err nqi_value_default(const struct nqt_opt *opt, const char *folder,
                                       struct nqi_value *ret, char why[NQI_WHY]);

/* opt->def as it would stand in a file, a new reference; NULL = no memory or no default. */
json_t *nqi_value_default_json(const struct nqt_opt *opt);

/* Release what the value holds; it is not set afterwards. */
void nqi_value_fini(struct nqi_value *value);

bool nqi_value_equal(const struct nqi_value *a, const struct nqi_value *b);

/* ---- for people ------------------------------------------------------------------------- */

#define NQI_VALUE_TEXT 160

/* "boolean", "integer", "size", "duration", "string", "choice", "path", "list" ... */
const char *nqi_value_type(const struct nqt_opt *opt);

/* A number with the largest unit that divides it: "64MiB", "30s"; returns `out`. */
char *nqi_value_number_text(const struct nqt_opt *opt, int64_t num, char out[NQI_VALUE_TEXT]);

/* What numbers are allowed: "1 to 64", "off, or 100ms to 24h"; "" = any; returns `out`. */
char *nqi_value_range_text(const struct nqt_opt *opt, char out[NQI_VALUE_TEXT]);

/* True when there is a range; `min` and `max` are then written.  Sizes and durations always
 * have one. */
bool nqi_value_range(const struct nqt_opt *opt, int64_t *min, int64_t *max);

/* The NQI_OPT_UNLIMITED, _AUTO and _OFF that hold for `opt`. */
uint32_t nqi_value_words(const struct nqt_opt *opt);

/* `json` in one short line, for "not ...": at most `cap` bytes, printable; returns `out`. */
char *nqi_value_show(const json_t *json, char *out, size_t cap);

#endif

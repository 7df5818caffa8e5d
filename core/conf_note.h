/* The problems of one configuration: noted as they are found, so that all are reported. */
#ifndef NQ_CORE_CONF_NOTE_H
#define NQ_CORE_CONF_NOTE_H

#include "core/base.h"
#include "core/conf_table.h"
#include "core/value.h"
#include <netqueue/check.h>

#define NQI_CONF_AT 256    /* room for a JSON pointer */
#define NQI_CONF_TEXT 2048 /* room for a problem's text */

struct nqi_conf_notes {
    const char *source; /* borrowed: how errors call the file */
    nq_problem_fn problem;
    void *arg;
    size_t count;
    size_t warned;                  /* problems that it may be possible to do without solving */
    nq_err first;                   /* what the first problem makes of the call */
    char first_text[NQI_CONF_TEXT]; /* with source and pointer */
};

/* The pointer to member `key` of the object at `at`, printable and cut when too long; returns
 * `out`. */
char *nqi_conf_pointer(const char *at, const char *key, char out[NQI_CONF_AT]);

/* Note a problem of the value at the pointer `at` and report it.  `err` counts when it is the
 * first one. */
void nqi_conf_note(struct nqi_conf_notes *notes, nq_err err, const char *at, const char *format,
                   ...) NQI_PRINTF(4, 5);

/* The same of one that does not fail the call, unless nqi_conf_insist() follows. */
void nqi_conf_warn(struct nqi_conf_notes *notes, nq_err err, const char *at, const char *text);
void nqi_conf_insist(struct nqi_conf_notes *notes);

/* Something that works, and should not be so: reported, or where nobody asked for problems logged.
 */
void nqi_conf_remark(const struct nqi_conf_notes *notes, const char *at, const char *raw);

/* Note that the core has no key `name` in the object that the table calls `place` and the file
 * `at`, and what it may have meant.
 * @param module  in a transport's object: its options are known there, too; else NULL */
void nqi_conf_note_unknown(struct nqi_conf_notes *notes, const char *place, const char *at,
                           const char *name, const struct nqt_module *module);

/* Read the value of `key`, which is neither an object nor about transports; what is wrong with
 * it, or is of a later version, is noted.
 * @param ret  [out] not set after a problem; ends with nqi_value_fini()
 * @return NQ_OK, also after a problem; NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_conf_read(struct nqi_conf_notes *notes, const struct nqi_key *key,
                                   const char *at, const json_t *json, const char *folder,
                                   struct nqi_value *ret);

#endif

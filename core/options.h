/* The checked options of one entry of "transports".
 *
 * Names, types, defaults and ranges come from the module's own option table. */
#ifndef NQ_CORE_OPTIONS_H
#define NQ_CORE_OPTIONS_H

#include "core/conf.h"
#include "core/value.h"

#define NQI_OPTIONS_CAP 256 /* most options of one module */
#define NQI_OPTIONS_NONE SIZE_MAX

/* Option `i` of the module.  Goes by the module's own record size, which is larger than ours
 * when its header is newer. */
const struct nqt_opt *nqi_options_at(const struct nqt_module *module, size_t i);

/* Place of the option `name`, or NQI_OPTIONS_NONE. */
size_t nqi_options_find(const struct nqt_module *module, const char *name);

/* Place of the option that names the transport which `module` stands on, or NQI_OPTIONS_NONE. */
size_t nqi_options_find_inner(const struct nqt_module *module);

/* Is the module's option table fit for use?  Names, types, choices, ranges and defaults are
 * looked at; reads data only.
 * @param why  [out] on NQ_ERR_PLUGIN: what is wrong, as one line
 * @return NQ_OK, NQ_ERR_PLUGIN, NQ_ERR_NOMEM. */
NQ_MUST_CHECK nq_err nqi_options_check_table(const struct nqt_module *module, char why[NQI_WHY]);

/* Options of `module`, none set.  @param ret [out] owned, ends with nqi_options_free() */
NQ_MUST_CHECK nq_err nqi_options_new(const struct nqt_module *module, struct nqi_options **ret);
void nqi_options_free(struct nqi_options *options);

/* The options of the transport that this one stands on: `inner` becomes `options`' own, NULL =
 * none. */
void nqi_options_set_inner(struct nqi_options *options, struct nqi_options *inner);
struct nqi_options *nqi_options_inner(const struct nqi_options *options);
/* What NQT_FACT_PROVEN answers to the module, and to the one it stands on. */
void nqi_options_set_proven(struct nqi_options *options, bool proven);
/* What NQT_FACT_ID answers to both. */
void nqi_options_set_id(struct nqi_options *options, const nq_uuid *id);
/* What NQT_FACT_WIRE answers to both: NQT_WIRE_; NATIVE unless set. */
void nqi_options_set_wire(struct nqi_options *options, enum nqi_wire wire);
enum nqi_wire nqi_options_wire(const struct nqi_options *options);
const struct nqt_module *nqi_options_module(const struct nqi_options *options);

/* Read option `i`.  @return as nqi_value_read(), which also explains `folder` and `why`. */
NQ_MUST_CHECK nq_err nqi_options_set(struct nqi_options *options, size_t i, const json_t *json,
                                     const char *folder, char why[NQI_WHY]);

/* Give every option that is not set its default.  @return NQ_OK, NQ_ERR_NOMEM, or
 * NQ_ERR_CONFIG, which a table that passed nqi_options_check_table() never causes. */
NQ_MUST_CHECK nq_err nqi_options_fill(struct nqi_options *options, const char *folder,
                                      char why[NQI_WHY]);

/* False when the file says nothing of option `i` and it has no default. */
bool nqi_options_is_set(const struct nqi_options *options, size_t i);

/* The same module and the same values? */
bool nqi_options_equal(const struct nqi_options *a, const struct nqi_options *b);

#endif

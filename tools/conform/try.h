/* Tries: small stories in which a rule may break.  Each runs in a process of its own, after the
 * file was loaded there, so that a transport that crashes or hangs harms one try. */
#ifndef NQTEST_TRY_H
#define NQTEST_TRY_H

#include "tools/conform/rig.h"

struct nqtest_try {
    enum nqtest_rule rule;
    void (*run)(void);       /* either this */
    void (*each)(int round); /* or this, with 0 to rounds - 1 */
    int rounds;
    uint64_t caps; /* the module must have all of these, else the try is left out */
};

/* In order of the rules; each ends with NQTEST_RULE_NONE. */
extern const struct nqtest_try nqtest_tries_module[], nqtest_tries_life[], nqtest_tries_bytes[],
    nqtest_tries_memory[], nqtest_tries_abi[], nqtest_tries_failure[], nqtest_tries_object[],
    nqtest_tries_options[], nqtest_tries_killed[];

/* Leave the running try out.  @param why  "no rx_poll()" */
_Noreturn void nqtest_leave_out(const char *why);

/* The tested module's name is that of its file. */
bool nqtest_is_name(const char *name);

/* The tested file. */
const char *nqtest_file(void);

/* What is tried from now on, for the text of a broken rule. */
void nqtest_with(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ask rx_poll() until `cond`, or let the loop go on where there is nothing to be asked. */
void nqtest_poll_until(bool (*cond)(const void *link), struct nqtest_link *link);

struct nqtest_conform {
    const char *file; /* absolute, or with a slash in it */
    struct nqtest_transport transport;
    const char *inner;  /* file of the transport that this one stands on; NULL = none */
    const char *folder; /* for sockets and files of the tries; what is in it is removed */
    int64_t patience_ms;
    uint64_t only; /* bits of enum nqtest_rule; 0 = all */
};

/* Run all tries and print TAP.  Thread: the only one of the process.  Blocks: at most a few times
 * the patience for each rule.
 * @return how many rules are broken */
unsigned nqtest_conform(const struct nqtest_conform *conform);

/* Load the file, for the process's life.
 * @param why  `cap` bytes: what is wrong
 * @return     NULL: it is no transport that can be tried */
const struct nqt_module *nqtest_load(const char *file, char *why, size_t cap);

/* The name that the module of a file must have, in `cap` bytes. */
void nqtest_name_of(const char *file, char *ret, size_t cap);

#endif

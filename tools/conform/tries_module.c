/* What can be said of a module before it runs.  See try.h. */
#include "tools/conform/try.h"
#include <stdio.h>
#include <string.h>

static void the_file_is_a_module(void)
{
    const struct nqt_module *module = nqtest_tested->module;

    NQTEST_MUST(NONE, module->magic == NQT_MAGIC, "its magic number is %#x, not %#x", module->magic,
                NQT_MAGIC);
    NQTEST_MUST(NONE, module->abi_major == NQT_ABI_MAJOR,
                "it is for transport ABI %u; this command knows %u", module->abi_major,
                NQT_ABI_MAJOR);
    NQTEST_MUST(NONE, module->needs_minor <= NQT_ABI_MINOR,
                "it needs transport ABI %u.%u; this command knows %u.%u", module->abi_major,
                module->needs_minor, NQT_ABI_MAJOR, NQT_ABI_MINOR);
    NQTEST_MUST(NONE, module->size >= sizeof(*module), "its descriptor has %u bytes, not %zu",
                module->size, sizeof(*module));
    NQTEST_MUST(NONE, module->name && nqtest_is_name(module->name),
                "its name is \"%s\", not the file's", module->name ? module->name : "");
}

static void slots_are_there_for_what_is_claimed(void)
{
    const struct nqt_module *module = nqtest_tested->module;
    const struct nqt_ops *ops = module->ops;
    const struct {
        bool is, must;
        const char *what;
    } pairs[] = {
        {NQT_HAS(struct nqt_ops, ops, rx_hold), module->caps & NQT_CAP_RX_HOLD,
         "rx_hold() and RX_HOLD"},
        {NQT_HAS(struct nqt_ops, ops, shutdown), module->caps & NQT_CAP_DRAIN,
         "shutdown() and DRAIN"},
        {NQT_HAS(struct nqt_ops, ops, loan), module->caps & NQT_CAP_LOAN_TX, "loan() and LOAN_TX"},
        {NQT_HAS(struct nqt_ops, ops, rx_poll), NQT_HAS(struct nqt_ops, ops, rx_arm),
         "rx_poll() and rx_arm()"},
        {NQT_HAS(struct nqt_ops, ops, poll), NQT_HAS(struct nqt_ops, ops, poll_wake),
         "poll() and poll_wake()"},
    };

    NQTEST_MUST(NONE, module->caps & (NQT_CAP_STREAM | NQT_CAP_MESSAGE),
                "its links are neither STREAM nor MESSAGE");
    NQTEST_MUST(NONE,
                module->threading == NQT_THREADING_LOOP || module->threading == NQT_THREADING_OWN,
                "threading is %u", module->threading);
    NQTEST_MUST(NONE,
                ops->mod_open && ops->mod_close && ops->ep_open && ops->ep_close && ops->connect &&
                    ops->attach && ops->send && ops->close && ops->info && ops->ext,
                "a slot is missing that every transport has");
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        NQTEST_MUST(NONE, pairs[i].is == pairs[i].must, "%s go together", pairs[i].what);
    NQTEST_MUST(NONE, module->version && module->wire && module->license && module->summary,
                "version, wire, license or summary is missing");
}

static bool is_choice(const struct nqt_opt *opt)
{
    for (uint32_t i = 0; opt->choices[i]; i++)
        if (!opt->def || strcmp(opt->choices[i], opt->def) == 0)
            return true;
    return false;
}

static bool default_fits(const struct nqt_opt *opt)
{
    int64_t number;

    if (!opt->def || opt->type > NQT_OPT_DURATION)
        return true;
    if (!nqtest_read_number(opt, opt->def, &number))
        return false;
    return (!opt->min && !opt->max) || (number >= opt->min && number <= opt->max);
}

static void options_are_described(void)
{
    const struct nqt_module *module = nqtest_tested->module;

    NQTEST_MUST(NONE, !module->nopt || module->opt_size == sizeof(*module->opt),
                "opt_size is %u, not %zu", module->opt_size, sizeof(*module->opt));
    for (uint32_t i = 0; i < module->nopt; i++) {
        const struct nqt_opt *opt = &module->opt[i];

        NQTEST_MUST(NONE, opt->name && *opt->name, "option %u has no name", i);
        NQTEST_MUST(NONE, opt->help && *opt->help, "%s has no help text", opt->name);
        NQTEST_MUST(NONE, opt->type >= NQT_OPT_BOOL && opt->type <= NQT_OPT_TRANSPORT,
                    "%s is of type %u, which is none", opt->name, opt->type);
        NQTEST_MUST(NONE, opt->min <= opt->max, "%s has a range from %lld to %lld", opt->name,
                    (long long)opt->min, (long long)opt->max);
        NQTEST_MUST(NONE, (opt->type == NQT_OPT_ENUM) == !!opt->choices,
                    "%s: choices and the type ENUM go together", opt->name);
        NQTEST_MUST(NONE, !opt->choices || is_choice(opt), "%s: its default is not among them",
                    opt->name);
        NQTEST_MUST(NONE, default_fits(opt), "%s: its default, %s, is none of its values",
                    opt->name, opt->def);
        for (uint32_t other = 0; other < i; other++)
            NQTEST_MUST(NONE, strcmp(opt->name, module->opt[other].name) != 0, "%s is there twice",
                        opt->name);
    }
}

const struct nqtest_try nqtest_tries_module[] = {
    {NQTEST_RULE_LOAD, .run = the_file_is_a_module},
    {NQTEST_RULE_DESCRIPTOR, .run = slots_are_there_for_what_is_claimed},
    {NQTEST_RULE_TABLE, .run = options_are_described},
    {.rule = NQTEST_RULE_NONE},
};

/* Options, the generator, and what a link plans to do. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"
#include <string.h>

static const char *const opts_directions[] = {"both", "send", "receive", NULL};

#define OPTS_ODDS(NAME, HELP)                                                        \
    {                                                                                \
        .name = (NAME), .def = "0", .type = NQT_OPT_INT, .max = 1000, .help = (HELP) \
    }

const struct nqt_opt fault_opt_table[FAULT_OPTIONS] = {
    {.name = "inner",
     .type = NQT_OPT_TRANSPORT,
     .flags = NQT_OPT_REQUIRED,
     .help = "Transport to do harm to; its options stand beside these"},
    {.name = "seed",
     .def = "1",
     .type = NQT_OPT_INT,
     .max = INT64_MAX,
     .help = "Same seed and same sequence of calls: same faults"},
    OPTS_ODDS("refuse", "Of a thousand connects (a server: accepted links), so many are refused"),
    OPTS_ODDS("cut", "Of a thousand links, so many are cut at once after some bytes"),
    OPTS_ODDS("truncate", "Of a thousand links, so many end in good order in the middle of a send"),
    OPTS_ODDS("half_open", "Of a thousand links, so many go dead one way, and are cut after that"),
    OPTS_ODDS("pause", "Of a thousand links, so many go dead one way for a while, and live on"),
    {.name = "after_min",
     .def = "0",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .help = "The four above happen after at least so many bytes"},
    {.name = "after_max",
     .def = "64KiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .help = "And after at most so many"},
    {.name = "direction",
     .def = "both",
     .type = NQT_OPT_ENUM,
     .choices = opts_directions,
     .help = "Whose bytes count, and which way goes dead; both = drawn for each link"},
    {.name = "dead_time",
     .def = "100ms",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .max = INT64_C(3600000000000),
     .help = "How long a way is dead"},
    {.name = "short_read",
     .def = "0",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .max = 1 << 30,
     .help = "Each read gives 1 to so many bytes; 0 = as they come"},
    {.name = "short_write",
     .def = "0",
     .type = NQT_OPT_INT,
     .max = 1 << 20,
     .help = "Each send takes 1 to so many buffers; 0 = as many as go"},
    {.name = "rate",
     .def = "0",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .max = INT64_C(1) << 40,
     .help = "Bytes a second, each way; 0 = as fast as it goes"},
    OPTS_ODDS("corrupt", "Of a thousand reads, so many have a bit flipped"),
    OPTS_ODDS("drop", "Of a thousand messages received, so many are lost; needs an inner "
                      "transport of messages, as do the next two"),
    OPTS_ODDS("duplicate", "Of a thousand messages received, so many come twice"),
    OPTS_ODDS("reorder", "Of a thousand messages received, so many come after the next one"),
};

/* ---- reading ---------------------------------------------------------------------------- */

static int opts_numbers(const struct nqt_host *host, nqt_cfg *cfg, struct fault_opts *opts,
                        struct nqt_error *err)
{
    int64_t seed = 0, after_min = 0, after_max = 0, short_read = 0, short_write = 0, rate = 0,
            odds[9] = {0};
    const struct nqt_number all[] = {
        {"seed", &seed},
        {"after_min", &after_min},
        {"after_max", &after_max},
        {"rate", &rate},
        {"dead_time", &opts->dead_ns},
        {"short_read", &short_read},
        {"short_write", &short_write},
        {"refuse", &odds[0]},
        {"cut", &odds[1]},
        {"truncate", &odds[2]},
        {"half_open", &odds[3]},
        {"pause", &odds[4]},
        {"corrupt", &odds[5]},
        {"drop", &odds[6]},
        {"duplicate", &odds[7]},
        {"reorder", &odds[8]},
    };
    int rc = nqt_cfg_numbers(host, cfg, all, sizeof(all) / sizeof(all[0]), err);

    if (rc)
        return rc;
    opts->seed = (uint64_t)seed;
    opts->after_min = (uint64_t)after_min;
    opts->after_max = (uint64_t)after_max;
    opts->rate = (uint64_t)rate;
    opts->short_read = (uint32_t)short_read;
    opts->short_write = (uint32_t)short_write;
    opts->refuse = (uint32_t)odds[0];
    opts->cut = (uint32_t)odds[1];
    opts->truncate = (uint32_t)odds[2];
    opts->half_open = (uint32_t)odds[3];
    opts->pause = (uint32_t)odds[4];
    opts->corrupt = (uint32_t)odds[5];
    opts->drop = (uint32_t)odds[6];
    opts->duplicate = (uint32_t)odds[7];
    opts->reorder = (uint32_t)odds[8];
    return NQT_OK;
}

/* Rules between the options themselves. */
static int opts_rules(const struct fault_opts *opts, struct nqt_error *err)
{
    if (opts->cut + opts->truncate + opts->half_open + opts->pause > 1000)
        return nqt_fail(err, NQT_E_CONFIG,
                        "cut, truncate, half_open, pause: more than 1000 together, and a link "
                        "has one of them at most");
    if (opts->after_min > opts->after_max)
        return nqt_fail(err, NQT_E_CONFIG, "after_min: more than after_max");
    if (opts->truncate && opts->direction == FAULT_RECEIVE)
        return nqt_fail(err, NQT_E_CONFIG,
                        "truncate: what is cut short is sent, so the "
                        "direction \"receive\" has none");
    return NQT_OK;
}

/* Rules between them and the inner transport. */
static int opts_fit(const struct fault_opts *opts, const struct nqt_module *inner,
                    struct nqt_error *err)
{
    const struct nqt_ops *ops = inner->ops;
    bool waits = opts->rate || opts->half_open || opts->pause;

    if ((opts->drop || opts->duplicate || opts->reorder) && (opts->corrupt || opts->short_read))
        return nqt_fail(err, NQT_E_CONFIG,
                        "%s: harms bytes, and a link that loses messages hands up messages",
                        opts->corrupt ? "corrupt" : "short_read");
    if (inner->caps & NQT_CAP_MESSAGE)
        return NQT_OK;
    if (opts->drop || opts->duplicate || opts->reorder)
        return nqt_fail(err, NQT_E_CONFIG,
                        "%s: needs an inner transport of messages; %s carries a stream of bytes",
                        opts->drop        ? "drop"
                        : opts->duplicate ? "duplicate"
                                          : "reorder",
                        inner->name);
    if (waits && opts->direction != FAULT_SEND && !FAULT_CAN(ops, rx_hold))
        return nqt_fail(err, NQT_E_CONFIG,
                        "%s: the transport %s cannot stop receiving (no RX_HOLD)",
                        opts->rate        ? "rate"
                        : opts->half_open ? "half_open"
                                          : "pause",
                        inner->name);
    return NQT_OK;
}

int fault_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct fault_opts *out,
                    const struct nqt_module **inner, nqt_cfg **inner_cfg, struct nqt_error *err)
{
    struct fault_opts opts = {0};
    uint32_t direction = FAULT_BOTH;
    int rc;

    if (!NQT_HAS(struct nqt_host, host, cfg_inner))
        return nqt_fail(err, NQT_E_UNSUPPORTED, "the core is too old to stand on a transport");
    if (host->cfg_inner(cfg, "inner", inner, inner_cfg))
        return nqt_fail(err, NQT_E_CONFIG, "inner: no transport");
    rc = opts_numbers(host, cfg, &opts, err);
    if (!rc)
        rc = nqt_cfg_choice(host, cfg, "direction", opts_directions, &direction, err);
    opts.direction = (enum fault_direction)direction;
    if (!rc)
        rc = opts_rules(&opts, err);
    if (!rc)
        rc = opts_fit(&opts, *inner, err);
    if (!rc)
        *out = opts;
    return rc;
}

bool fault_opts_active(const struct fault_opts *opts)
{
    return opts->refuse || opts->cut || opts->truncate || opts->half_open || opts->pause ||
           opts->short_read || opts->short_write || opts->rate || opts->corrupt || opts->drop ||
           opts->duplicate || opts->reorder;
}

/* ---- the generator ---------------------------------------------------------------------- */

/* xorshift64*: small, and good enough to spread faults.  Its state is never 0. */
uint64_t fault_draw(uint64_t *rng)
{
    *rng ^= *rng >> 12;
    *rng ^= *rng << 25;
    *rng ^= *rng >> 27;
    return *rng * UINT64_C(2685821657736338717);
}

uint64_t fault_below(uint64_t *rng, uint64_t n)
{
    return (fault_draw(rng) >> 11) % n;
}

bool fault_hit(uint64_t *rng, uint32_t odds)
{
    return odds && fault_below(rng, 1000) < odds;
}

/* Neighbouring seeds must not begin alike: mix as splitmix64 does. */
static uint64_t plan_seed(uint64_t seed, uint64_t number, uint64_t use)
{
    uint64_t x = seed + (number * 3 + use) * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return x ? x : 1;
}

/* ---- the plan --------------------------------------------------------------------------- */

static enum fault_kind plan_kind(const struct fault_opts *opts, uint64_t number)
{
    uint64_t at = opts->cut;

    if (number < at)
        return FAULT_CUT;
    if (number < (at += opts->truncate))
        return FAULT_TRUNCATE;
    if (number < (at += opts->half_open))
        return FAULT_HALF_OPEN;
    return number < at + opts->pause ? FAULT_PAUSE : FAULT_NONE;
}

bool fault_plan_draw(struct nqtp_link *link)
{
    const struct fault_opts *opts = &link->ep->opts;
    uint64_t rng;
    bool send, refused;

    link->number = atomic_fetch_add(&link->ep->links, 1) + 1;
    rng = plan_seed(opts->seed, link->number, 0);
    link->tx.rng = plan_seed(opts->seed, link->number, 1);
    link->rx.rng = plan_seed(opts->seed, link->number, 2);
    refused = fault_hit(&rng, opts->refuse);
    link->plan.kind = plan_kind(opts, fault_below(&rng, 1000));
    send = fault_below(&rng, 2);
    if (opts->direction != FAULT_BOTH)
        send = opts->direction == FAULT_SEND;
    link->plan.send = send || link->plan.kind == FAULT_TRUNCATE;
    link->plan.after = opts->after_min;
    if (opts->after_max > opts->after_min)
        link->plan.after += fault_below(&rng, opts->after_max - opts->after_min + 1);
    return refused;
}

const char *fault_kind_name(enum fault_kind kind)
{
    static const char *const names[] = {"nothing", "cut", "truncated", "half open", "paused"};

    return names[kind];
}

uint64_t fault_plan_left(const struct nqtp_link *link, bool send)
{
    uint64_t done = send ? link->tx.bytes : link->rx.bytes;

    if (link->plan.kind == FAULT_NONE || link->plan.send != send)
        return UINT64_MAX;
    return done < link->plan.after ? link->plan.after - done : 0;
}

void fault_plan_strike(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct fault_way *way = link->plan.send ? &link->tx : &link->rx;

    if (way->dead || link->due)
        return;
    nqt_log(mod->host, mod->core, NQT_LOG_DEBUG, "link %llu: %s after %llu bytes %s",
            (unsigned long long)link->number, fault_kind_name(link->plan.kind),
            (unsigned long long)way->bytes, link->plan.send ? "sent" : "received");
    if (link->plan.kind == FAULT_CUT || link->plan.kind == FAULT_TRUNCATE) {
        link->due = true;
        (void)fault_kick(link); /* there is a timer */
        return;
    }
    way->dead = true;
    link->dead_until = fault_now(link) + link->ep->opts.dead_ns;
    fault_arm(link);
}

bool fault_plan_count(struct nqtp_link *link, bool send, uint64_t n)
{
    struct fault_way *way = send ? &link->tx : &link->rx;

    way->bytes += n;
    fault_pace(link, way, n);
    /* A send strikes when the next buffer comes, because that one is sent in part. */
    if (!send && !fault_plan_left(link, false))
        fault_plan_strike(link);
    return link->due;
}

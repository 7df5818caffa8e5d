/* Options at the ends of what their table allows, and secrets.  What lies outside of it never comes
 * to a transport: the core refuses it.  See try.h. */
#include "tools/conform/try.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_LONG 5000 /* longer than a path, or a name of a host, may be */
#define ITEMS 100

/* The options of one side, one of them with another value. */
static const struct nqtest_opt *with_value(const struct nqtest_opt *base, const char *name,
                                           const char *value, struct nqtest_opt *ret)
{
    size_t n = 0;

    for (; base && base->name; base++)
        if (strcmp(base->name, name) != 0) {
            NQTEST_COMPARE(NONE, n, <, NQTEST_OPTS_MOST - 2);
            ret[n++] = *base;
        }
    ret[n++] = (struct nqtest_opt){name, value};
    ret[n] = (struct nqtest_opt){NULL, NULL};
    return ret;
}

/* A client of the server, and what it sends if the link comes up. */
static void live_with(struct nqtest_host *host, const struct nqtest_opt *opts,
                      const struct nqtest_ep *server)
{
    struct nqtest_ep *ep = NULL;
    struct nqtest_link *link;

    (void)nqtest_check(host, opts, NULL);
    if (nqtest_ep_open(host, false, server ? nqtest_with_port(opts, server) : opts, &ep, NULL))
        return;
    link = server && nqtest_can(NQT_CAP_CONNECT) ? nqtest_connect(ep, NULL) : NULL;
    nqtest_settle(5);
    if (link && link->ups && !link->downs)
        nqtest_push(link, 2000, 500, 1, 4);
    nqtest_settle(2);
}

/* Both sides have the option so: each takes it, or refuses it with a reason.  What they then can do
 * is theirs: a time-out of a nanosecond may well be over, and some transports do harm for tests. */
static void try_value(const char *name, const char *value)
{
    struct nqtest_opt of_server[NQTEST_OPTS_MOST], of_client[NQTEST_OPTS_MOST];
    struct nqtest_host *hosts[] = {nqtest_host_new(nqtest_tested->module, 0),
                                   nqtest_host_new(nqtest_tested->module, 0)};
    struct nqtest_ep *server = NULL;

    nqtest_with("%s = \"%.40s\"", name, value);
    NQTEST_MUST(NONE, hosts[0] && hosts[1], "mod_open() failed");
    hosts[0]->raw = hosts[1]->raw = true;
    with_value(nqtest_tested->server, name, value, of_server);
    (void)nqtest_check(hosts[0], of_server, NULL);
    if (nqtest_can(NQT_CAP_LISTEN))
        (void)nqtest_ep_open(hosts[0], true, of_server, &server, NULL);
    nqtest_settle(5);
    live_with(hosts[1], with_value(nqtest_tested->client, name, value, of_client),
              server && server->ups ? server : NULL);
    nqtest_host_close(hosts[1]);
    nqtest_host_close(hosts[0]);
    nqtest_host_free(hosts[1]);
    nqtest_host_free(hosts[0]);
    nqtest_check_retired();
}

static void try_number(const char *name, int64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, number);
    try_value(name, text);
}

static void try_range(const struct nqt_opt *opt)
{
    bool none = !opt->min && !opt->max;

    try_number(opt->name, !none ? opt->min : opt->type == NQT_OPT_INT ? INT64_MIN : 0);
    try_number(opt->name, none ? INT64_MAX : opt->max);
}

static void try_list(const char *name)
{
    char items[ITEMS * 8] = "";
    size_t len = 0;

    try_value(name, "");
    try_value(name, "one");
    for (int i = 0; i < ITEMS; i++)
        len += (size_t)snprintf(items + len, sizeof(items) - len, "%sitem%d", i ? "\n" : "", i);
    try_value(name, items);
}

static void try_text(const char *name)
{
    char *text = malloc(TEXT_LONG + 1);

    memset(text, 'x', TEXT_LONG);
    text[TEXT_LONG] = '\0';
    try_value(name, "");
    try_value(name, text);
    *text = '/';
    try_value(name, text);
    free(text);
}

static void try_option(const struct nqt_opt *opt)
{
    switch (opt->type) {
    case NQT_OPT_BOOL:
        try_value(opt->name, "false");
        try_value(opt->name, "true");
        return;
    case NQT_OPT_INT:
    case NQT_OPT_SIZE:
    case NQT_OPT_DURATION:
        try_range(opt);
        return;
    case NQT_OPT_ENUM:
        for (uint32_t i = 0; opt->choices[i]; i++)
            try_value(opt->name, opt->choices[i]);
        return;
    case NQT_OPT_LIST:
        try_list(opt->name);
        return;
    case NQT_OPT_TRANSPORT:
        return; /* there is but one to stand on */
    default:
        try_text(opt->name);
    }
}

static void options_at_their_ends(void)
{
    const struct nqt_module *module = nqtest_tested->module;

    if (!module->nopt)
        nqtest_leave_out("it has no options");
    for (uint32_t i = 0; i < module->nopt; i++)
        try_option(&module->opt[i]);
}

/* ---- secrets ------------------------------------------------------------------------------ */

#define SECRET "Sesam-oeffne-dich-4711"

static void keep_secret(const char *name)
{
    struct nqtest_opt of_server[NQTEST_OPTS_MOST], of_client[NQTEST_OPTS_MOST],
        alone[NQTEST_OPTS_MOST];
    const struct nqtest_opt *client = with_value(nqtest_tested->client, name, SECRET, of_client);
    struct nqtest_host *host = nqtest_host_new(nqtest_tested->module, 0);
    struct nqtest_ep *server = NULL;

    nqtest_with("%s", name);
    NQTEST_MUST(NONE, host, "mod_open() failed");
    live_with(host, with_value(NULL, name, SECRET, alone), NULL); /* other options are missing */
    (void)nqtest_ep_open(host, true, with_value(nqtest_tested->server, name, SECRET, of_server),
                         &server, NULL);
    nqtest_settle(20);
    live_with(host, client, server);
    nqtest_settle(20);
    if (server)
        nqtest_ep_close(server);
    nqtest_settle(20);
    live_with(host, client, server); /* nobody answers any more */
    nqtest_host_free(host);
}

static void secrets_stand_in_no_text(void)
{
    const struct nqt_module *module = nqtest_tested->module;
    bool any = false;

    nqtest_secret = SECRET;
    for (uint32_t i = 0; i < module->nopt; i++)
        if (module->opt[i].flags & NQT_OPT_SECRET) {
            keep_secret(module->opt[i].name);
            any = true;
        }
    if (!any)
        nqtest_leave_out("it has no secret option");
}

const struct nqtest_try nqtest_tries_options[] = {
    {NQTEST_RULE_ENDS, .run = options_at_their_ends},
    {NQTEST_RULE_SECRETS, .run = secrets_stand_in_no_text},
    {.rule = NQTEST_RULE_NONE},
};

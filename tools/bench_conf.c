/* The configurations that `netqueue bench` makes for its two queues.
 *
 * No transport is known by name here: what the options are called decides, and a user's
 * --option goes before everything. */
#include "tools/bench.h"
#include "tools/json.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A port of 127.0.0.1 that nobody has now; 0 = none. */
static unsigned conf_free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok;

    if (fd < 0)
        return 0;
    ok = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
         getsockname(fd, (struct sockaddr *)&addr, &len) == 0;
    close(fd);
    return ok ? ntohs(addr.sin_port) : 0;
}

static const struct nq_option_info *conf_option(const struct nq_transport_info *info,
                                                const char *name, size_t len)
{
    for (size_t i = 0; i < info->noptions; i++)
        if (strlen(info->options[i].name) == len && memcmp(info->options[i].name, name, len) == 0)
            return &info->options[i];
    return NULL;
}

/* True when the transport has the option and the user did not set it. */
static bool conf_free_option(const struct nqi_bench_conf *conf,
                             const struct nq_transport_info *info, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < conf->options.n; i++)
        if (strncmp(conf->options.items[i], name, len) == 0 && conf->options.items[i][len] == '=')
            return false;
    return conf_option(info, name, len) != NULL;
}

static bool conf_brokered(const struct nq_transport_info *info)
{
    for (size_t i = 0; info->caps[i]; i++)
        if (strcasecmp(info->caps[i], "brokered") == 0)
            return true;
    return false;
}

static void conf_json_list(FILE *out, const char *text)
{
    putc('[', out);
    while (*text) {
        size_t len = strcspn(text, ",");

        nqi_json_bytes(out, text, len);
        text += len;
        if (*text) {
            fputs(", ", out);
            text++;
        }
    }
    putc(']', out);
}

/* Goes without quotes?  An option that is not in the table is that of a transport which this one
 * stands on: what looks like a number is one. */
static bool conf_is_bare(const struct nq_option_info *option, const char *value)
{
    const char *type = option ? option->type : "";
    uint64_t number;

    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
        return !option || strcmp(type, "boolean") == 0;
    return (!option || strcmp(type, "integer") == 0 || strcmp(type, "size") == 0) &&
           nqi_parse_count(value, &number);
}

/* "key=value" as JSON, in the form that the option's type wants. */
static void conf_json_option(FILE *out, const struct nq_transport_info *info, const char *text)
{
    size_t len = strcspn(text, "=");
    const char *value = text + len + 1;
    const struct nq_option_info *option = conf_option(info, text, len);

    fputs(", ", out);
    nqi_json_bytes(out, text, len);
    fputs(": ", out);
    if (option && strcmp(option->type, "list") == 0)
        conf_json_list(out, value);
    else if (conf_is_bare(option, value))
        fputs(value, out);
    else
        nqi_json_text(out, value);
}

/* A folder of our own for a path option. */
static void conf_make_path(struct nqi_bench_conf *conf)
{
    const char *top = getenv("TMPDIR");

    if (snprintf(conf->folder, sizeof(conf->folder), "%s/netqueue-XXXXXX", top ? top : "/tmp") >=
            (int)sizeof(conf->folder) ||
        !mkdtemp(conf->folder)) {
        conf->folder[0] = 0;
        return;
    }
    snprintf(conf->path, sizeof(conf->path), "%s/queue.sock", conf->folder);
}

static void conf_json_address(struct nqi_bench_conf *conf, FILE *out,
                              const struct nq_transport_info *info)
{
    if (!conf_brokered(info)) {
        conf->port = conf->port ? conf->port : conf_free_port();
        if (conf_free_option(conf, info, "host"))
            fprintf(out, ", \"host\": \"127.0.0.1\"");
        if (conf_free_option(conf, info, "port"))
            fprintf(out, ", \"port\": %u", conf->port);
    }
    if (conf_free_option(conf, info, "path")) {
        if (!conf->folder[0])
            conf_make_path(conf);
        fprintf(out, ", \"path\": ");
        nqi_json_text(out, conf->path);
    }
    if (conf_free_option(conf, info, "name"))
        fprintf(out, ", \"name\": \"bench-%ld\"", (long)getpid());
}

/* The largest message decides: the default limits stand as long as they allow it. */
static void conf_json_limits(const struct nqi_bench_conf *conf, FILE *out)
{
    uint64_t largest = conf->largest;

    if (largest > UINT64_C(1) << 30)
        fprintf(out, ", \"limits\": {\"max_message\": %llu, \"memory\": %llu}",
                (unsigned long long)largest, 2 * (unsigned long long)largest);
}

char *nqi_bench_config(struct nqi_bench_conf *conf, const struct nq_transport_info *info,
                       const char *purpose)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fprintf(out, "{\"purpose\": \"%s\", \"transports\": [{\"transport\": ", purpose);
    nqi_json_text(out, conf->transport);
    conf_json_address(conf, out, info);
    for (size_t i = 0; i < conf->options.n; i++)
        conf_json_option(out, info, conf->options.items[i]);
    fprintf(out, "}], \"queue\": {\"policy\": \"%s\"", conf->policy);
    if (conf->queue_bytes)
        fprintf(out, ", \"bytes\": %llu", (unsigned long long)conf->queue_bytes);
    fputc('}', out);
    conf_json_limits(conf, out);
    /* A put that waits for a partner that has died should not do so for minutes. */
    fprintf(out, ", \"session\": {\"expiry\": \"2s\"");
    if (conf->credit)
        fprintf(out, ", \"credit\": %llu", (unsigned long long)conf->credit);
    fputc('}', out);
    if (conf->spin) {
        fprintf(out, ", \"progress\": {\"spin\": ");
        nqi_json_text(out, conf->spin);
        fputc('}', out);
    }
    fputc('}', out);
    return fclose(out) == 0 ? text : NULL;
}

void nqi_bench_config_fini(struct nqi_bench_conf *conf)
{
    if (conf->folder[0]) {
        unlink(conf->path);
        rmdir(conf->folder);
    }
    conf->folder[0] = 0;
    nqi_texts_fini(&conf->options);
}

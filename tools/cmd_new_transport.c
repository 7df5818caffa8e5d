/* netqueue new-transport: the files of a transport of one's own, which is built and tried at once.
 *
 * It is the transport of tests/outside/ with another name; its files are part of the command. */
#include "tools/opts.h"
#include "tools/say.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_BYTES 32 /* with its NUL */
/* Wherever it stands, in texts and names of files, the new transport's name comes. */
#define TEMPLATE "unixsock"

static const struct part {
    const char *file;         /* NULL = the list's end */
    const char *const *lines; /* each with its newline; the last is NULL */
} parts[] = {
#include "tools/template_files.inc"
    {NULL, NULL},
};

/* A word for a C identifier, a file and a configuration. */
static bool is_name(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)name[i]) &&
            (!i || (!isdigit((unsigned char)name[i]) && name[i] != '_')))
            return false;
    return len > 0 && len < NAME_BYTES;
}

/* `text` with the name in it. */
static void write_named(FILE *out, const char *text, const char *name)
{
    const char *at;

    for (; (at = strstr(text, TEMPLATE)); text = at + strlen(TEMPLATE))
        fprintf(out, "%.*s%s", (int)(at - text), text, name);
    fputs(text, out);
}

/* @return false: it was said why */
static bool make_file(const struct part *part, const char *name, const char *folder)
{
    const char *suffix = strchr(part->file, '.');
    bool is_named = strncmp(part->file, TEMPLATE ".", sizeof(TEMPLATE)) == 0;
    char path[PATH_MAX];
    bool good;
    FILE *out;

    snprintf(path, sizeof(path), "%s/%s%s", folder, is_named ? name : part->file,
             is_named ? suffix : "");
    out = fopen(path, "wxe");
    if (!out) {
        nqi_say_errno(path, errno);
        return false;
    }
    for (const char *const *line = part->lines; *line; line++)
        write_named(out, *line, name);
    good = !ferror(out);
    good = !fclose(out) && good;
    if (!good)
        nqi_say_errno(path, errno);
    else
        printf("%s\n", path);
    return good;
}

/* It is made, or there and empty: nothing of anybody's is overwritten.  @return false: it was said
 * why not */
static bool make_folder(const char *folder)
{
    struct dirent *entry;
    bool empty = true;
    DIR *dir;

    if (mkdir(folder, 0777) && errno != EEXIST) {
        nqi_say_errno(folder, errno);
        return false;
    }
    dir = opendir(folder);
    if (!dir) {
        nqi_say_errno(folder, errno);
        return false;
    }
    while ((entry = readdir(dir)))
        empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    if (!empty)
        nqi_say("%s: it is not empty", folder);
    return empty;
}

int nqi_cmd_new_transport(int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "new-transport NAME DIR",
        "Makes the files of a new transport in DIR, which must be empty or not there: its source,\n"
        "what autotools need, and a configuration for netqueue conform.",
        NULL,
    };
    int code = nqi_opts_parse(&usage, NULL, 0, argc, argv);
    const char *name, *folder;

    if (code >= 0)
        return code;
    if (argc - optind != 2)
        return nqi_opts_bad("NAME and DIR are needed");
    name = argv[optind];
    folder = argv[optind + 1];
    if (!is_name(name))
        return nqi_opts_bad("\"%s\" is no name: a small letter, then small letters, digits and _, "
                            "at most %d in all",
                            name, NAME_BYTES - 1);
    if (!make_folder(folder))
        return NQI_EXIT_FAILED;
    for (const struct part *part = parts; part->file; part++)
        if (!make_file(part, name, folder))
            return NQI_EXIT_FAILED;
    return NQI_EXIT_OK;
}

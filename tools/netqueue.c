/* The command `netqueue`: which of its commands, --help, --version. */
#include "tools/say.h"
#include "tools/tool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"put", "send files, lines or standard input", nqi_cmd_put},
    {"get", "receive messages into files or to standard output", nqi_cmd_get},
    {"transports", "list the transports, or describe one", nqi_cmd_transports},
    {"check", "find every problem in a configuration file", nqi_cmd_check},
    {"stats", "show how a running queue is", nqi_cmd_stats},
    {"bench", "measure a transport between two processes", nqi_cmd_bench},
    {"conform", "try whether a transport keeps the rules", nqi_cmd_conform},
    {"new-transport", "make the files of a new transport", nqi_cmd_new_transport},
};

static void main_help(FILE *out)
{
    fprintf(out, "Usage: netqueue COMMAND [OPTION]...\n\n"
                 "Puts messages into a queue over a network, and gets them out on the other side.\n"
                 "\nCommands:\n");
    for (size_t i = 0; i < NQI_LEN(commands); i++)
        fprintf(out, "  %-15s%s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nOptions:\n"
                 "  -h, --help     print this and end; netqueue COMMAND --help tells more\n"
                 "  -V, --version  print the version and end\n"
                 "\nExit code: 0 success; 1 something was not delivered, or problems were found;\n"
                 "2 wrong usage; 3 configuration or transport; 4 no connection or time-out;\n"
                 "130 interrupted.\n");
}

static int main_version(void)
{
    printf("netqueue %d.%d.%d (library %s)\n", NQ_VERSION_MAJOR, NQ_VERSION_MINOR, NQ_VERSION_PATCH,
           nq_version());
    return NQI_EXIT_OK;
}

/* A closed standard descriptor would go to the next socket, and output into that socket.
 * Opened the wrong way round, so that using it still fails. */
static void main_hold_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* `code`, or a failure when what was printed did not get out. */
static int main_end(int code)
{
    bool failed = fflush(stdout) != 0 || ferror(stdout) != 0;

    if (!failed)
        return code;
    nqi_say("standard output cannot be written");
    return code == NQI_EXIT_OK ? NQI_EXIT_FAILED : code;
}

static int main_dispatch(int argc, char **argv)
{
    const char *word = argv[1];

    if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0)
        return main_version();
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "help") == 0) {
        main_help(stdout);
        return NQI_EXIT_OK;
    }
    for (size_t i = 0; i < NQI_LEN(commands); i++) {
        if (strcmp(word, commands[i].name) == 0) {
            nqi_say_command(word);
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    nqi_say("there is no command \"%s\"; netqueue --help lists them", word);
    return NQI_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    main_hold_descriptors();
    if (argc < 2) {
        main_help(stderr);
        return NQI_EXIT_USAGE;
    }
    return main_end(main_dispatch(argc, argv));
}

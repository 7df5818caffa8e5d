/* The rules that a transport keeps: each a sentence or two of <netqueue/transport.h> with a name
 * that stays.  netqueue-conform(1) explains them, and a test holds the two lists together. */
#ifndef NQTEST_RULE_H
#define NQTEST_RULE_H

#include <stdbool.h>
#include <stddef.h>

/* X(identifier, name, when, sentence): TRIED have tries of their own, in this order; WATCHED are
 * looked after in all tries, and told at the end. */
#define NQTEST_RULES(X)                                                                            \
    X(LOAD, "load", TRIED, "the file is a module of this ABI, named as the file is")               \
    X(SYMBOLS, "symbols", TRIED,                                                                   \
      "the file exports its descriptor alone, and needs no symbol of the library")                 \
    X(DESCRIPTOR, "descriptor", TRIED, "slots are there for what the descriptor claims")           \
    X(TABLE, "option-table", TRIED,                                                                \
      "each option has a name, a help text, a type and a default "                                 \
      "that fits")                                                                                 \
    X(OPEN, "endpoint-up", TRIED, "ep_open() is followed by EP_UP, ep_close() by EP_CLOSED")       \
    X(UP, "link-up", TRIED, "connect() and attach() are followed by LINK_UP on both sides")        \
    X(INFO, "info", TRIED, "info() tells who the peer is, and capabilities of the module's")       \
    X(MANY, "many-links", TRIED, "many links of one endpoint do not mix")                          \
    X(ENDPOINTS, "many-endpoints", TRIED, "endpoints of one module live beside each other")        \
    X(EARLY, "close-early", TRIED, "close() right after connect() ends in LINK_CLOSED")            \
    X(REFUSE, "close-unattached", TRIED, "close() before attach() ends the link in silence")       \
    X(UNREAD, "attach-late", TRIED, "what comes before attach() waits for it")                     \
    X(EPLAST, "endpoint-last", TRIED, "an endpoint ends after its links, attached or not")         \
    X(INSIDE, "close-inside", TRIED, "close() is legal inside a receive, and twice")               \
    X(BOTH, "close-both", TRIED, "both sides may close at once, with bytes on their way")          \
    X(DEAD, "slots-when-down", TRIED, "slots of a link that is down do no harm")                   \
    X(NOBODY, "refused", TRIED, "a connect() that nobody answers is LINK_DOWN with a reason")      \
    X(INUSE, "address-in-use", TRIED, "a second endpoint at a place in use fails and says so")     \
    X(LISTENER, "listener", TRIED, "an endpoint that listens does not connect")                    \
    X(SEGMENTS, "segments", TRIED, "buffers of any number of segments, or empty, arrive whole")    \
    X(LIMITS, "limits", TRIED, "buffers as large and with as many segments as info() says arrive") \
    X(LARGE, "large", TRIED, "large transfers go in both directions at once")                      \
    X(PARTIAL, "partial-sends", TRIED, "what is taken in parts is neither lost nor reordered")     \
    X(PRESSURE, "back-pressure", TRIED, "a full link takes nothing, and WRITABLE follows")         \
    X(HOLD, "hold", TRIED, "rx_hold() stops receiving, and nothing is lost")                       \
    X(SPACE, "space-refused", TRIED, "a refused rx_space() or rx_commit() stops reading")          \
    X(POLL, "rx-poll", TRIED, "rx_poll() receives what is there, and rx_arm() wakes")              \
    X(COPIED, "send-bytes", TRIED, "bytes of send_bytes() arrive in line with buffers")            \
    X(SUDDEN, "prefix", TRIED, "what arrives before a sudden end is a prefix")                     \
    X(END, "end", TRIED, "the end of one side is EOF on the other, after all that was sent")       \
    X(KILLED, "killed-peer", TRIED, "a peer process that is killed ends its link, and no other")   \
    X(DRAIN, "drain", TRIED, "shutdown() delivers what was taken, takes no more, and ends")        \
    X(LOAN, "loan", TRIED, "a loan is aligned memory that outlives link and queue")                \
    X(LATE, "late-unref", TRIED,                                                                   \
      "a received buffer outlives its link, and any thread gives it back")                         \
    X(VIEWS, "received-buffers", TRIED, "a received buffer stays as it is while others come")      \
    X(OLDER, "older-host", TRIED, "the host's table need not be newer than the descriptor says")   \
    X(NEWER, "newer-host", TRIED, "the host's table may be longer than it was known to be")        \
    X(SIZES, "sizes", TRIED, "a struct of the caller is written no further than its size")         \
    X(ANYWHERE, "any-thread", TRIED, "slots run one at a time, on any thread")                     \
    X(THREADS, "threads", TRIED, "a transport that says LOOP starts no thread")                    \
    X(LIVES, "many-lives", TRIED, "life after life leaves no memory behind")                       \
    X(NOMEM, "no-memory", TRIED, "any allocation may fail, and all ends in good order")            \
    X(NOHELP, "no-help", TRIED, "any post, timer, watch or resolve may fail, as well")             \
    X(ENDS, "option-ends", TRIED,                                                                  \
      "an option at an end of its range, of any choice or empty is taken or refused")              \
    X(SECRETS, "secrets", TRIED, "the value of a secret option stands in no text")                 \
    X(SERIAL, "serial", WATCHED, "what is for the serial is called in the serial")                 \
    X(BYTES, "bytes-in-order", WATCHED, "bytes arrive in order, with no gap and no double")        \
    X(ONCE, "up-then-down", WATCHED, "one LINK_UP, one LINK_DOWN, nothing of the epoch after it")  \
    X(CLOSED, "closed-is-last", WATCHED, "after close() only LINK_CLOSED, and then nothing")       \
    X(EVENT, "event", WATCHED, "events are of the kinds there are and have what belongs to them")  \
    X(ERROR, "error", WATCHED, "a failure has a code and a text, and leaves nothing behind")       \
    X(TAKEN, "taken", WATCHED, "send() says how many buffers it took, and WRITABLE answers it")    \
    X(RXSPACE, "rx-space", WATCHED, "every rx_space() is followed by one rx_commit() of it")       \
    X(BUFFERS, "buffers", WATCHED, "every reference of a buffer is given back, once")              \
    X(READONLY, "read-only", WATCHED, "what is sent, or was given back, is not written to")        \
    X(MEMORY, "memory", WATCHED, "what mem() gave is given back")                                  \
    X(WATCHES, "watches", WATCHED, "a watch is deleted once, before its descriptor is closed")     \
    X(FDS, "descriptors", WATCHED, "no descriptor stays open, and all are close-on-exec")          \
    X(ASKED, "options", WATCHED, "only options of the table are asked for, by their type")         \
    X(LOG, "log", WATCHED, "a line for the log is one line of a known level")                      \
    X(GONE, "after-mod-close", WATCHED, "no call of the host follows mod_close()")                 \
    X(BLOCKS, "never-blocks", WATCHED, "a slot or callback returns")

enum nqtest_rule {
    NQTEST_RULE_NONE, /* the one that is being tried */
#define NQTEST_RULE_ID(id, name, when, sentence) NQTEST_RULE_##id,
    NQTEST_RULES(NQTEST_RULE_ID)
#undef NQTEST_RULE_ID
        NQTEST_RULE_COUNT
};

struct nqtest_rule_text {
    const char *name, *sentence;
    bool watched;
};

/* By enum nqtest_rule; the first is empty. */
extern const struct nqtest_rule_text nqtest_rules[NQTEST_RULE_COUNT];

/* A rule is broken: end the running try.  Not part of this folder's library: the command and the
 * unit tests have one each. */
_Noreturn void nqtest_broken(enum nqtest_rule rule, const char *file, int line, const char *format,
                             ...) __attribute__((format(printf, 4, 5)));

#define NQTEST_MUST(rule, cond, ...) \
    ((cond) ? (void)0 : nqtest_broken(NQTEST_RULE_##rule, __FILE__, __LINE__, __VA_ARGS__))

/* Whole numbers, each evaluated once. */
#define NQTEST_COMPARE(rule, a, op, b)                                           \
    do {                                                                         \
        long long a_ = (long long)(a), b_ = (long long)(b);                      \
        NQTEST_MUST(rule, a_ op b_, "%s is %lld, not %s %lld", #a, a_, #op, b_); \
    } while (0)

#endif

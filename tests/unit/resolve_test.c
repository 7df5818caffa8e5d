/* core/resolve.c: answers once, never waits for a name server, forgets what was cancelled.
 *
 * getaddrinfo() is replaced, so that the tests decide when a name server answers and what. */
#include "core/resolve.h"
#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

static sem_t entered, go_on, answers;
static unsigned calls;     /* of getaddrinfo() for names */
static pthread_t answerer; /* the thread of the last answer */
static uint32_t naddrs;
static struct nqt_error failure;
static struct sockaddr_storage first;

static struct addrinfo *one_address(int family, const void *addr, const char *service)
{
    struct addrinfo *info = calloc(1, sizeof(*info) + sizeof(struct sockaddr_storage));
    struct sockaddr_in *in = (struct sockaddr_in *)(info + 1);
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(info + 1);

    info->ai_addr = (struct sockaddr *)(info + 1);
    info->ai_addr->sa_family = (sa_family_t)family;
    info->ai_addrlen = family == AF_INET ? sizeof(*in) : sizeof(*in6);
    if (family == AF_INET) {
        in->sin_port = htons((uint16_t)atoi(service));
        memcpy(&in->sin_addr, addr, sizeof(in->sin_addr));
    } else {
        in6->sin6_port = htons((uint16_t)atoi(service));
        memcpy(&in6->sin6_addr, addr, sizeof(in6->sin6_addr));
    }
    return info;
}

static int find_name(const char *name, const char *service, struct addrinfo **ret)
{
    const struct in_addr addr = {htonl(0x7f000001)};

    calls++;
    sem_post(&entered);
    sem_wait(&go_on);
    if (strcmp(name, "unknown") == 0)
        return EAI_NONAME;
    if (strcmp(name, "memory") == 0)
        return EAI_MEMORY;
    *ret = one_address(AF_INET, &addr, service);
    (*ret)->ai_next = one_address(AF_INET6, &in6addr_loopback, service);
    return 0;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    struct in_addr addr = {htonl(INADDR_LOOPBACK)};
    struct in6_addr addr6;

    if (!name && (hints->ai_flags & AI_PASSIVE))
        addr.s_addr = htonl(INADDR_ANY);
    if (!name || inet_pton(AF_INET, name, &addr) == 1) {
        *ret = one_address(AF_INET, &addr, service);
        return 0;
    }
    if (inet_pton(AF_INET6, name, &addr6) == 1) {
        *ret = one_address(AF_INET6, &addr6, service);
        return 0;
    }
    return hints->ai_flags & AI_NUMERICHOST ? EAI_NONAME : find_name(name, service, ret);
}

void freeaddrinfo(struct addrinfo *info)
{
    struct addrinfo *next;

    for (; info; info = next) {
        next = info->ai_next;
        free(info);
    }
}

static void answer(void *arg, const struct nqt_addr *addrs, uint32_t n, const struct nqt_error *err)
{
    (void)arg;
    answerer = pthread_self();
    naddrs = n;
    if (err)
        failure = *err;
    if (n)
        memcpy(&first, addrs[0].addr, addrs[0].len);
    sem_post(&answers);
}

static int answered(void)
{
    int n = 0;

    sem_getvalue(&answers, &n);
    return n;
}

static void setup(void)
{
    sem_init(&entered, 0, 0);
    sem_init(&go_on, 0, 0);
    sem_init(&answers, 0, 0);
}

static const struct {
    const char *host, *text;
    uint32_t flags;
    int family;
} numeric[] = {
    {"10.1.2.3", "10.1.2.3", 0, AF_INET},
    {"fd00::7", "fd00::7", 0, AF_INET6},
    {NULL, "127.0.0.1", 0, AF_INET},
    {NULL, "0.0.0.0", NQT_RESOLVE_PASSIVE, AF_INET},
};

START_TEST(a_numeric_address_is_answered_inside_the_call)
{
    char text[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *in = (const struct sockaddr_in *)&first;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&first;

    ck_assert_int_eq(nqi_resolve(numeric[_i].host, 4711, numeric[_i].flags, answer, NULL), NQ_OK);
    ck_assert_int_eq(answered(), 1);
    ck_assert(pthread_equal(answerer, pthread_self()));
    ck_assert_uint_eq(naddrs, 1);
    ck_assert_int_eq(first.ss_family, numeric[_i].family);
    if (numeric[_i].family == AF_INET)
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    else
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
    ck_assert_str_eq(text, numeric[_i].text);
    ck_assert_uint_eq(ntohs(in->sin_port), 4711); /* at the same place in both */
    ck_assert_uint_eq(calls, 0);
}
END_TEST

START_TEST(a_name_is_answered_on_another_thread_with_all_addresses)
{
    ck_assert_int_eq(nqi_resolve("server", 80, 0, answer, NULL), NQ_OK);
    sem_wait(&entered);
    ck_assert_int_eq(answered(), 0);
    sem_post(&go_on);
    sem_wait(&answers);
    ck_assert(!pthread_equal(answerer, pthread_self()));
    ck_assert_uint_eq(naddrs, 2);
}
END_TEST

START_TEST(an_unknown_name_is_unreachable_and_the_text_names_it)
{
    ck_assert_int_eq(nqi_resolve("unknown", 80, 0, answer, NULL), NQ_OK);
    sem_post(&go_on);
    sem_wait(&answers);
    ck_assert_uint_eq(naddrs, 0);
    ck_assert_int_eq(failure.code, NQT_E_UNREACHABLE);
    ck_assert_int_eq(failure.native, EAI_NONAME);
    ck_assert_str_eq(failure.domain, "resolver");
    ck_assert_ptr_nonnull(strstr(failure.text, "resolve unknown: "));
}
END_TEST

START_TEST(no_memory_in_the_resolver_is_told_apart)
{
    ck_assert_int_eq(nqi_resolve("memory", 80, 0, answer, NULL), NQ_OK);
    sem_post(&go_on);
    sem_wait(&answers);
    ck_assert_int_eq(failure.code, NQT_E_NOMEM);
}
END_TEST

START_TEST(a_very_long_name_fits_into_the_error_text)
{
    char name[1000];

    memset(name, 'x', sizeof(name));
    memcpy(name, "known", 5);
    name[sizeof(name) - 1] = 0;
    ck_assert_int_eq(nqi_resolve(name, 80, 0, answer, NULL), NQ_OK);
    sem_post(&go_on);
    sem_wait(&answers);
    ck_assert_uint_eq(naddrs, 2);
}
END_TEST

START_TEST(many_questions_are_all_answered)
{
    static int args[40];

    for (size_t i = 0; i < NQI_LEN(args); i++) {
        ck_assert_int_eq(nqi_resolve(i % 3 ? "a" : "unknown", 1, 0, answer, &args[i]), NQ_OK);
        sem_post(&go_on);
    }
    for (size_t i = 0; i < NQI_LEN(args); i++)
        sem_wait(&answers);
    ck_assert_int_eq(answered(), 0);
}
END_TEST

START_TEST(cancel_does_not_wait_for_the_name_server_and_the_answer_never_comes)
{
    int a, b;

    ck_assert_int_eq(nqi_resolve("server", 1, 0, answer, &a), NQ_OK);
    sem_wait(&entered);
    nqi_resolve_cancel(&a); /* would hang here for ever if it waited */
    ck_assert_int_eq(nqi_resolve("other", 1, 0, answer, &b), NQ_OK);
    sem_post(&go_on);
    sem_post(&go_on);
    sem_wait(&answers); /* of b: the helper answers in order */
    ck_assert_int_eq(answered(), 0);
    ck_assert_uint_eq(calls, 2);
}
END_TEST

START_TEST(cancel_takes_questions_that_wait_and_leaves_those_of_others)
{
    int a, b, c;

    ck_assert_int_eq(nqi_resolve("first", 1, 0, answer, &a), NQ_OK);
    sem_wait(&entered);
    ck_assert_int_eq(nqi_resolve("second", 1, 0, answer, &b), NQ_OK);
    ck_assert_int_eq(nqi_resolve("third", 1, 0, answer, &c), NQ_OK);
    ck_assert_int_eq(nqi_resolve("fourth", 1, 0, answer, &b), NQ_OK);
    nqi_resolve_cancel(&b);
    for (int i = 0; i < 4; i++)
        sem_post(&go_on);
    sem_wait(&answers);
    sem_wait(&answers);
    ck_assert_uint_eq(calls, 2);
}
END_TEST

static sem_t in_answer, out_answer;
static bool answer_left;

static void slow_answer(void *arg, const struct nqt_addr *addrs, uint32_t n,
                        const struct nqt_error *err)
{
    (void)arg;
    (void)addrs;
    (void)n;
    (void)err;
    sem_post(&in_answer);
    sem_wait(&out_answer);
    answer_left = true;
}

static void *let_answer_leave(void *unused)
{
    (void)unused;
    sem_post(&out_answer);
    return NULL;
}

START_TEST(cancel_waits_for_an_answer_that_is_being_given)
{
    pthread_t other;
    int a;

    sem_init(&in_answer, 0, 0);
    sem_init(&out_answer, 0, 0);
    ck_assert_int_eq(nqi_resolve("server", 1, 0, slow_answer, &a), NQ_OK);
    sem_post(&go_on);
    sem_wait(&in_answer);
    pthread_create(&other, NULL, let_answer_leave, NULL);
    nqi_resolve_cancel(&a);
    ck_assert(answer_left);
    pthread_join(other, NULL);
}
END_TEST

START_TEST(cancel_of_nothing_returns)
{
    int a;

    nqi_resolve_cancel(&a);
    nqi_resolve_cancel(NULL);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("resolve");
    TCase *tc = tcase_create("resolve");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, a_numeric_address_is_answered_inside_the_call, 0, NQI_LEN(numeric));
    tcase_add_test(tc, a_name_is_answered_on_another_thread_with_all_addresses);
    tcase_add_test(tc, an_unknown_name_is_unreachable_and_the_text_names_it);
    tcase_add_test(tc, no_memory_in_the_resolver_is_told_apart);
    tcase_add_test(tc, a_very_long_name_fits_into_the_error_text);
    tcase_add_test(tc, many_questions_are_all_answered);
    tcase_add_test(tc, cancel_does_not_wait_for_the_name_server_and_the_answer_never_comes);
    tcase_add_test(tc, cancel_takes_questions_that_wait_and_leaves_those_of_others);
    tcase_add_test(tc, cancel_waits_for_an_answer_that_is_being_given);
    tcase_add_test(tc, cancel_of_nothing_returns);
    suite_add_tcase(suite, tc);
    return suite;
}

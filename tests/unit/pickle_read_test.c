/* core/pickle_read.c, _stack.c, _build.c, _names.c: Python's pickles are read, and nothing else is.
 */
#include "core/pickle.h"
#include "core/pool.h"
#include "tests/support/pickles.h"
#include "tests/support/suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nqtest_pickle *pickle_of(int i)
{
    return &nqtest_pickles[i / 4][i % 4];
}

/* In memory of exactly that size, so that a tool sees each byte too many. */
static nq_err load(const void *bytes, size_t len, const struct nq_pickle_options *options,
                   nq_datum **ret)
{
    void *exact = malloc(len ? len : 1);
    nq_err err;

    ck_assert_ptr_nonnull(exact);
    memcpy(exact, bytes, len);
    err = nq_pickle_load(exact, len, options, ret);
    free(exact);
    return err;
}

#define LOAD(bytes, ret) load(bytes, sizeof(bytes) - 1, NULL, ret)

static void refuse(const void *bytes, size_t len, nq_err wanted, const char *why)
{
    nq_datum *datum = NULL;
    nq_err err = load(bytes, len, NULL, &datum);

    ck_assert_msg(err == wanted && strstr(nq_error(), why), "\"%s\": %d \"%s\"", why, err,
                  err ? nq_error() : "");
    ck_assert_ptr_null(datum);
}

#define REFUSE(bytes, wanted, why) refuse(bytes, sizeof(bytes) - 1, wanted, why)

/* ---- Python's own ---- */

START_TEST(each_protocol_says_the_same)
{
    nq_datum *first = NULL, *datum = NULL;
    int i = 4 * _i;

    ck_assert_msg(!load(pickle_of(i + 3)->bytes, pickle_of(i + 3)->len, NULL, &first), "%s",
                  nq_error());
    for (int p = 0; p < 3; p++) {
        ck_assert_msg(!load(pickle_of(i + p)->bytes, pickle_of(i + p)->len, NULL, &datum), "%s",
                      nq_error());
        /* before protocol 4 a fold does not travel */
        ck_assert_msg(_i == 3 && p < 2 ? !nq_datum_equal(first, datum)
                                       : nq_datum_equal(first, datum),
                      "protocol %d", p + 2);
        nq_datum_unref(datum);
    }
    nq_datum_unref(first);
}
END_TEST

START_TEST(values_are_what_python_meant)
{
    nq_datum *datum = NULL;
    struct nq_array array;
    struct nq_time time;
    int64_t number, offset;
    const char *bytes;
    size_t len;

    ck_assert_int_eq(load(pickle_of(3)->bytes, pickle_of(3)->len, NULL, &datum), NQ_OK);
    ck_assert_uint_eq(nq_datum_count(datum), 17);
    ck_assert_int_eq(nq_datum_get_int(nq_datum_item(datum, 9), &number), NQ_OK);
    ck_assert_int_eq(number, INT64_MIN);
    ck_assert_int_eq(nq_datum_get_int(nq_datum_item(datum, 10), &number), NQ_AGAIN);
    ck_assert_int_eq(nq_datum_get_bytes(nq_datum_item(datum, 15), &bytes, &len), NQ_OK);
    ck_assert_str_eq(bytes, "\xc3\xa9\xe2\x82\xac");
    nq_datum_unref(datum);

    ck_assert_int_eq(load(pickle_of(12)->bytes, pickle_of(12)->len, NULL, &datum), NQ_OK);
    ck_assert_int_eq(nq_datum_get_time(nq_datum_item(datum, 0), &time), NQ_OK);
    ck_assert(time.year == 2020 && time.month == 1 && time.day == 2 && time.hour == 3 &&
              time.minute == 4 && time.second == 5 && time.microsecond == 6 && !time.time_zone);
    ck_assert_int_eq(nq_datum_get_time(nq_datum_item(datum, 3), &time), NQ_OK);
    ck_assert_int_eq(nq_datum_get_timezone(time.time_zone, &offset, &bytes), NQ_OK);
    ck_assert_int_eq(offset, INT64_C(-3600000000));
    ck_assert_str_eq(bytes, "X");
    nq_datum_unref(datum);

    ck_assert_int_eq(load(pickle_of(27)->bytes, pickle_of(27)->len, NULL, &datum), NQ_OK);
    ck_assert_int_eq(nq_datum_get_array(nq_datum_item(datum, 1), &array), NQ_OK);
    ck_assert_str_eq(array.dtype, "<f8");
    ck_assert(array.fortran && array.ndim == 2 && array.shape[0] == 2 && array.shape[1] == 3);
    ck_assert_int_eq(nq_datum_get_array(nq_datum_item(datum, 4), &array), NQ_OK);
    ck_assert_str_eq(array.dtype, "<M8[25us]");
    nq_datum_unref(datum);
}
END_TEST

START_TEST(what_was_one_object_is_one)
{
    nq_datum *datum = NULL;

    for (int i = 20; i < 24; i++) {
        ck_assert_int_eq(load(pickle_of(i)->bytes, pickle_of(i)->len, NULL, &datum), NQ_OK);
        ck_assert_ptr_eq(nq_datum_item(datum, 0), nq_datum_item(datum, 2));
        nq_datum_unref(datum);
    }
}
END_TEST

/* ---- damaged ---- */

START_TEST(cut_anywhere_it_is_refused)
{
    const struct nqtest_pickle *pickle = pickle_of(_i);
    nq_datum *datum = NULL;

    for (size_t len = 0; len < pickle->len; len++) {
        ck_assert_msg(load(pickle->bytes, len, NULL, &datum), "%zu bytes", len);
        ck_assert_ptr_nonnull(strstr(nq_error(), "pickle, byte "));
    }
}
END_TEST

START_TEST(any_byte_may_be_any_other)
{
    const struct nqtest_pickle *pickle = pickle_of(_i);
    unsigned char bytes[4096];
    nq_datum *datum = NULL;

    ck_assert_uint_le(pickle->len, sizeof(bytes));
    for (size_t at = 0; at < pickle->len; at++)
        for (unsigned value = 0; value < 256; value += 5) {
            memcpy(bytes, pickle->bytes, pickle->len);
            bytes[at] = (unsigned char)(value + at % 5);
            if (!load(bytes, pickle->len, NULL, &datum))
                nq_datum_unref(datum);
        }
}
END_TEST

START_TEST(without_memory_nothing_is_lost)
{
    const struct nqtest_pickle *pickle = pickle_of(_i);
    nq_datum *datum = NULL;

    for (unsigned n = 1;; n++) {
        nq_err err;

        nqi_pool_fail_after(n);
        err = load(pickle->bytes, pickle->len, NULL, &datum);
        if (!err)
            break;
        ck_assert_msg(err == NQ_ERR_NOMEM, "%s", nq_error());
    }
    nqi_pool_fail_after(0);
    nq_datum_unref(datum);
}
END_TEST

/* ---- opcodes ---- */

START_TEST(each_opcode_is_read_or_named)
{
    static const char read_ones[] = "(.01GJKMNQRXabcehjqrstu}])"
                                    "BC\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90"
                                    "\x91\x93\x94\x95\x96";
    char pickle[] = "\x80\x05?", name[64];
    nq_datum *datum = NULL;

    for (unsigned op = 0; op < 256; op++) {
        const char *known = nqi_opcode_name(op);

        pickle[2] = (char)op;
        ck_assert(load(pickle, 3, NULL, &datum));
        snprintf(name, sizeof(name), "pickle, byte 2 (%s): ", known ? known : "");
        if (known)
            ck_assert_msg(strstr(nq_error(), name) || strstr(nq_error(), "byte 3: "), "%s",
                          nq_error());
        else
            ck_assert_msg(strstr(nq_error(), "is no opcode"), "%s", nq_error());
        if (known && op && !memchr(read_ones, (int)op, sizeof(read_ones) - 1))
            ck_assert_msg(
                strstr(nq_error(), op == NQI_OP_NEXT_BUFFER ? "not in the pickle" : "is not read"),
                "%s", nq_error());
        else if (known && op != NQI_OP_PROTO)
            ck_assert_msg(!strstr(nq_error(), "is not read"), "%s", nq_error());
    }
}
END_TEST

START_TEST(other_protocols_are_named)
{
    REFUSE("", NQ_ERR_PROTO, "cut short");
    REFUSE("I1\n.", NQ_ERR_UNSUPPORTED, "protocol 0 or 1");
    REFUSE("\x80\x01N.", NQ_ERR_UNSUPPORTED, "protocol 1");
    REFUSE("\x80\x06N.", NQ_ERR_UNSUPPORTED, "protocol 6");
    REFUSE("\x80\x05N.N", NQ_ERR_PROTO, "behind the end");
    REFUSE("\x80\x05NN.", NQ_ERR_PROTO, "leaves 2 values");
    REFUSE("\x80\x05(.", NQ_ERR_PROTO, "leaves 1 values");
}
END_TEST

START_TEST(what_does_not_fit_on_the_stack_is_refused)
{
    REFUSE("\x80\x05"
           "a.",
           NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05Na.", NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05NNa.", NQ_ERR_PROTO, "needs a list, and finds None");
    REFUSE("\x80\x05}(e.", NQ_ERR_PROTO, "needs a list, and finds dict");
    REFUSE("\x80\x05}(Nu.", NQ_ERR_PROTO, "a key without its value");
    REFUSE("\x80\x05(e.", NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05((e.", NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05t.", NQ_ERR_PROTO, "no MARK");
    REFUSE("\x80\x05N\x86.", NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05(N\x86.", NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05"
           "0.",
           NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05"
           "1.",
           NQ_ERR_PROTO, "no MARK");
    REFUSE("\x80\x05]"
           "]s.",
           NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05}]Ns.", NQ_ERR_PROTO, "cannot hash");
    REFUSE("\x80\x05\x8f(}\x90.", NQ_ERR_PROTO, "cannot hash");
    REFUSE("\x80\x05(]\x91.", NQ_ERR_PROTO, "cannot hash");
    REFUSE("\x80\x05h\x00.", NQ_ERR_PROTO, "memo entry 0 is empty");
    REFUSE("\x80\x05\x94.", NQ_ERR_PROTO, "not enough");
    REFUSE("\x80\x05NR.", NQ_ERR_PROTO, "global and a tuple");
    REFUSE("\x80\x05N)R.", NQ_ERR_PROTO, "global and a tuple");
    REFUSE("\x80\x05NNb.", NQ_ERR_UNSUPPORTED, "a state for None");
    REFUSE("\x80\x05X\x01\x00\x00\x00\xff.", NQ_ERR_PROTO, "not UTF-8");
}
END_TEST

START_TEST(a_value_that_contains_itself_is_refused)
{
    REFUSE("\x80\x04]\x94h\x00"
           "a.",
           NQ_ERR_PROTO, "inside of itself");
    REFUSE("\x80\x04]\x94]\x94h\x00"
           "aa.",
           NQ_ERR_PROTO, "inside of itself");
    REFUSE("\x80\x04}\x94K\x01h\x00s.", NQ_ERR_PROTO, "inside of itself");
    REFUSE("\x80\x04]\x94h\x00\x85\x94"
           "0h\x00h\x01"
           "a.",
           NQ_ERR_PROTO, "inside of itself");
}
END_TEST

/* ---- globals ---- */

START_TEST(a_global_that_is_not_known_is_named_and_never_run)
{
    REFUSE("\x80\x02"
           "cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
           NQ_ERR_UNSUPPORTED, "\"os.system\"");
    REFUSE("\x80\x04\x8c\x05posix\x8c\x06system\x93.", NQ_ERR_UNSUPPORTED, "\"posix.system\"");
    REFUSE("\x80\x04\x8c\x08"
           "builtins\x8c\x04"
           "eval\x93.",
           NQ_ERR_UNSUPPORTED, "\"builtins.eval\"");
    REFUSE("\x80\x04\x8c\x08"
           "datetime\x8c\x0a"
           "date\n\x1b[31m\x93.",
           NQ_ERR_UNSUPPORTED, "\"datetime.date\\x0a\\x1b[31m\"");
    REFUSE("\x80\x04\x8c\x08"
           "datetimeK\x01\x93.",
           NQ_ERR_PROTO, "two str");
    REFUSE("\x80\x02"
           "c",
           NQ_ERR_PROTO, "cut short");
    REFUSE("\x80\x02"
           "cuuid\nUUID",
           NQ_ERR_PROTO, "cut short");
    REFUSE("\x80\x02"
           "cuuid\nUUID\n.",
           NQ_ERR_UNSUPPORTED, "a class by itself");
    REFUSE("\x80\x02"
           "cuuid\nUUID\n)\x81.",
           NQ_ERR_UNSUPPORTED, "without its state");
    REFUSE("\x80\x02"
           "cuuid\nUUID\n)R.",
           NQ_ERR_UNSUPPORTED, "UUID");
    REFUSE("\x80\x02]cuuid\nUUID\na.", NQ_ERR_PROTO, "no value");
    REFUSE("\x80\x02"
           "cuuid\nUUID\n)\x81}b.",
           NQ_ERR_UNSUPPORTED, "uuid.UUID");
    REFUSE("\x80\x02"
           "cuuid\nUUID\n)\x81}X\x03\x00\x00\x00intJ\xff\xff\xff\xffsb.",
           NQ_ERR_UNSUPPORTED, "uuid.UUID");
    REFUSE("\x80\x02"
           "cdatetime\ndate\n)\x81.",
           NQ_ERR_UNSUPPORTED, "date");
    REFUSE("\x80\x03"
           "cdatetime\ndate\nC\x04\x00\x00\x01\x01\x85R.",
           NQ_ERR_PROTO, "no such");
    REFUSE("\x80\x03"
           "cdatetime\ndate\nC\x03\x00\x00\x01\x85R.",
           NQ_ERR_UNSUPPORTED, "datetime.date");
    REFUSE("\x80\x03"
           "cdatetime\ndatetime\nC\x0a\x07\xe4\x01\x01\x00\x00\x00\x00\x00\x00N\x86R.",
           NQ_ERR_UNSUPPORTED, "time zone");
    REFUSE("\x80\x03"
           "cdatetime\ntimedelta\n)R.",
           NQ_ERR_UNSUPPORTED, "timedelta");
    REFUSE("\x80\x03"
           "cdatetime\ntimezone\nN\x85R.",
           NQ_ERR_UNSUPPORTED, "timezone");
    REFUSE("\x80\x02"
           "c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R.",
           NQ_ERR_PROTO, "U+00FF");
    REFUSE("\x80\x02"
           "c_codecs\nencode\nNN\x86R.",
           NQ_ERR_UNSUPPORTED, "_codecs.encode");
    REFUSE("\x80\x02"
           "c__builtin__\nset\nN\x85R.",
           NQ_ERR_UNSUPPORTED, "set");
    REFUSE("\x80\x02"
           "cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R.",
           NQ_ERR_UNSUPPORTED, "Python objects");
    REFUSE("\x80\x02"
           "cnumpy.core.multiarray\n_reconstruct\nN\x85R.",
           NQ_ERR_UNSUPPORTED, "ndarray");
    REFUSE("\x80\x02"
           "cnumpy.core.multiarray\nscalar\nNN\x86R.",
           NQ_ERR_UNSUPPORTED, "numpy scalar");
    REFUSE("\x80\x02"
           "cnumpy.core.numeric\n_frombuffer\n)R.",
           NQ_ERR_UNSUPPORTED, "ndarray");
}
END_TEST

START_TEST(numpy_2_says_other_names)
{
    static const char old_name[] = "cnumpy.core.multiarray\n";
    const struct nqtest_pickle *pickle = pickle_of(24); /* protocol 2 */
    nq_datum *first = NULL, *second = NULL;
    char bytes[4096];
    size_t len = 0;

    for (size_t at = 0; at < pickle->len;) {
        bool here = pickle->len - at >= sizeof(old_name) - 1 &&
                    !memcmp(pickle->bytes + at, old_name, sizeof(old_name) - 1);

        if (here) {
            memcpy(bytes + len, "cnumpy._core.multiarray\n", sizeof(old_name));
            len += sizeof(old_name);
            at += sizeof(old_name) - 1;
        } else {
            bytes[len++] = pickle->bytes[at++];
        }
    }
    ck_assert_uint_gt(len, pickle->len);
    ck_assert_int_eq(load(pickle->bytes, pickle->len, NULL, &first), NQ_OK);
    ck_assert_msg(!load(bytes, len, NULL, &second), "%s", nq_error());
    ck_assert(nq_datum_equal(first, second));
    nq_datum_unref(first);
    nq_datum_unref(second);
}
END_TEST

static const char *const allow_none[] = {NULL};
static const char *const allow_uuid[] = {"uuid.UUID", NULL};
static const char *const allow_datetime[] = {"datetime", NULL};
static const char *const allow_numpy[] = {"date", "datetime.dat", "numpy", NULL};

START_TEST(a_list_of_names_narrows_it)
{
    static const struct {
        const char *const *allow;
        int kind; /* of nqtest_pickles */
        bool good;
    } cases[] = {{allow_none, 1, true},     {allow_none, 2, true},      {allow_none, 3, false},
                 {allow_none, 4, false},    {allow_uuid, 4, true},      {allow_uuid, 3, false},
                 {allow_datetime, 3, true}, {allow_datetime, 4, false}, {allow_numpy, 6, true},
                 {allow_numpy, 3, false},   {allow_uuid, 6, false}};

    for (size_t i = 0; i < NQI_LEN(cases); i++)
        for (int p = 0; p < 4; p++) {
            const struct nqtest_pickle *pickle = &nqtest_pickles[cases[i].kind][p];
            const struct nq_pickle_options options = {.allow = cases[i].allow};
            nq_datum *datum = NULL;
            nq_err err = load(pickle->bytes, pickle->len, &options, &datum);

            ck_assert_msg((err == NQ_OK) == cases[i].good, "case %zu: %s", i, nq_error());
            if (err)
                ck_assert_msg(err == NQ_ERR_UNSUPPORTED && strstr(nq_error(), "is not allowed"),
                              "%s", nq_error());
            nq_datum_unref(datum);
        }
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_length_is_not_believed)
{
    REFUSE("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
           "a.",
           NQ_ERR_PROTO, "not there");
    REFUSE("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"
           "a.",
           NQ_ERR_PROTO, "not there");
    REFUSE("\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00"
           "a.",
           NQ_ERR_PROTO, "not there");
    REFUSE("\x80\x03"
           "B\xff\xff\xff\xff"
           "a.",
           NQ_ERR_PROTO, "not there");
    REFUSE("\x80\x03\x8b\xff\xff\xff\x7f"
           "a.",
           NQ_ERR_PROTO, "not there");
    REFUSE("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", NQ_ERR_PROTO, "not there");
}
END_TEST

static nq_err load_repeated(const char *before, const char *each, size_t n, const char *behind,
                            const struct nq_pickle_options *options)
{
    size_t head = strlen(before), len = strlen(each), tail = strlen(behind);
    char *bytes = malloc(2 + head + n * len + tail);
    nq_datum *datum = NULL;
    nq_err err;

    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, "\x80\x04", 2);
    memcpy(bytes + 2, before, head);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + 2 + head + i * len, each, len);
    memcpy(bytes + 2 + head + n * len, behind, tail);
    err = nq_pickle_load(bytes, 2 + head + n * len + tail, options, &datum);
    nq_datum_unref(datum);
    free(bytes);
    return err;
}

START_TEST(depth_is_bounded)
{
    const struct nq_pickle_options three = {.depth = 3};

    ck_assert_int_eq(load_repeated("N", "\x85", NQ_DATUM_DEPTH - 1, ".", NULL), NQ_OK);
    ck_assert_int_eq(load_repeated("N", "\x85", NQ_DATUM_DEPTH, ".", NULL), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(load_repeated("N", "\x85", 1000000, ".", NULL), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(load_repeated("", "]", 1000000, ".", NULL), NQ_ERR_PROTO); /* wide, not deep */
    ck_assert_int_eq(load_repeated("", "(", 1000000, ".", NULL), NQ_ERR_PROTO);
    ck_assert_int_eq(load_repeated("N", "\x85", 2, ".", &three), NQ_OK);
    ck_assert_int_eq(load_repeated("N", "\x85", 3, ".", &three), NQ_ERR_TOO_BIG);
}
END_TEST

START_TEST(memory_is_bounded)
{
    const struct nq_pickle_options little = {.memory = 100000}, numbers = {.int_bytes = 4};

    ck_assert_int_eq(load_repeated("(", "]", 1000, "t.", &little), NQ_OK);
    ck_assert_int_eq(load_repeated("(", "]", 2000, "t.", &little), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(load_repeated("", "]0", 2000, "N.", &little), NQ_ERR_TOO_BIG); /* none kept */
    /* a set of 1000 again and again: the memo gives the list away for two bytes */
    ck_assert_int_eq(load_repeated("c__builtin__\nset\nq\x01](KaKaKaKaKaKaKaKaKaKaeq\x02\x85q\x03",
                                   "h\x01h\x03R0", 1000, ".", &little),
                     NQ_ERR_TOO_BIG);
    ck_assert_int_eq(load_repeated("\x8a", "\x05", 6, ".", &numbers), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(load_repeated("\x8a", "\x04", 5, ".", &numbers), NQ_OK);
}
END_TEST

START_TEST(the_memo_is_bounded)
{
    const struct nq_pickle_options two = {.memo = 2};

    REFUSE("\x80\x04Nr\xff\xff\xff\xff.", NQ_ERR_TOO_BIG, "memo entry 4294967295");
    REFUSE("\x80\x04Nq\x64.", NQ_ERR_TOO_BIG, "memo entry 100"); /* more than bytes */
    ck_assert_int_eq(load_repeated("N", "\x94", 2, ".", &two), NQ_OK);
    ck_assert_int_eq(load_repeated("N", "\x94", 3, ".", &two), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(load_repeated("N", "q\x05", 3, ".", NULL), NQ_OK); /* one more than once */
}
END_TEST

/* Small when read, beyond all memory when unfolded: reading it is no work. */
START_TEST(what_is_shared_many_times_is_read_as_it_is)
{
    ck_assert_int_eq(load_repeated("Nq\x01", "h\x01h\x01\x86q\x01", 60, ".", NULL), NQ_ERR_PROTO);
    ck_assert_int_eq(load_repeated("]q\x01", "0h\x01h\x01\x86q\x01", 60, ".", NULL), NQ_OK);
}
END_TEST

/* ---- persistent ids ---- */

static nq_err known(void *arg, const nq_datum *id, nq_datum **ret)
{
    const char *text;
    size_t len;

    ck_assert_str_eq(arg, "arg");
    if (nq_datum_get_bytes(id, &text, &len) || strcmp(text, "seven"))
        return NQ_ERR_NO_PEER;
    return nq_datum_int(7, ret);
}

START_TEST(a_persistent_id_is_what_the_callback_says)
{
    static char arg[] = "arg";
    const struct nq_pickle_options options = {.load_id = known, .arg = arg};
    nq_datum *datum = NULL;
    int64_t number;

    REFUSE("\x80\x04\x8c\x05sevenQ.", NQ_ERR_UNSUPPORTED, "persistent id");
    ck_assert_int_eq(load("\x80\x04\x8c\x05sevenQ.", 11, &options, &datum), NQ_OK);
    ck_assert_int_eq(nq_datum_get_int(datum, &number), NQ_OK);
    ck_assert_int_eq(number, 7);
    ck_assert_int_eq(load("\x80\x04\x8c\x05"
                          "eightQ.",
                          11, &options, &datum),
                     NQ_ERR_NO_PEER);
    ck_assert_int_eq(load("\x80\x04Q.", 4, &options, &datum), NQ_ERR_PROTO);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("pickle_read");
    TCase *tc = tcase_create("pickle_read");
    int all = 4 * NQTEST_PICKLES;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, each_protocol_says_the_same, 0, NQTEST_PICKLES);
    tcase_add_test(tc, values_are_what_python_meant);
    tcase_add_test(tc, what_was_one_object_is_one);
    tcase_add_loop_test(tc, cut_anywhere_it_is_refused, 0, all);
    tcase_add_loop_test(tc, any_byte_may_be_any_other, 0, all);
    tcase_add_loop_test(tc, without_memory_nothing_is_lost, 0, all);
    tcase_add_test(tc, each_opcode_is_read_or_named);
    tcase_add_test(tc, other_protocols_are_named);
    tcase_add_test(tc, what_does_not_fit_on_the_stack_is_refused);
    tcase_add_test(tc, a_value_that_contains_itself_is_refused);
    tcase_add_test(tc, a_global_that_is_not_known_is_named_and_never_run);
    tcase_add_test(tc, numpy_2_says_other_names);
    tcase_add_test(tc, a_list_of_names_narrows_it);
    tcase_add_test(tc, a_length_is_not_believed);
    tcase_add_test(tc, depth_is_bounded);
    tcase_add_test(tc, memory_is_bounded);
    tcase_add_test(tc, the_memo_is_bounded);
    tcase_add_test(tc, what_is_shared_many_times_is_read_as_it_is);
    tcase_add_test(tc, a_persistent_id_is_what_the_callback_says);
    suite_add_tcase(suite, tc);
    return suite;
}

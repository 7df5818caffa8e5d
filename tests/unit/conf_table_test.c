/* core/conf_table.c: every row is complete, and its default obeys its own rules. */
#include "core/conf.h"
#include "core/conf_table.h"
#include "core/value.h"
#include <check.h>
#include <string.h>

static void each_key(void (*look)(const struct nqi_key *key))
{
    for (size_t i = 0; i < nqi_nkeys; i++)
        look(&nqi_keys[i]);
}

static void look_complete(const struct nqi_key *key)
{
    ck_assert_int_eq(key->opt.name[0], '/');
    ck_assert_msg(key->opt.help && *key->opt.help, "%s", key->opt.name);
    ck_assert_int_eq(key->opt.help[strlen(key->opt.help) - 1], '.');
    ck_assert_str_ne(nqi_value_type(&key->opt), "unknown");
    ck_assert_msg(key->opt.type != NQT_OPT_ENUM || key->opt.choices, "%s", key->opt.name);
    ck_assert_msg(!key->opt.def || !(key->opt.flags & NQT_OPT_REQUIRED), "%s", key->opt.name);
    ck_assert(key->opt.type < NQT_OPT_INT || key->opt.type > NQT_OPT_DURATION || key->opt.unit);
}

START_TEST(every_key_has_help_type_and_unit)
{
    each_key(look_complete);
}
END_TEST

static void look_unique(const struct nqi_key *key)
{
    for (const struct nqi_key *other = nqi_keys; other < key; other++)
        ck_assert_str_ne(other->opt.name, key->opt.name);
}

START_TEST(no_key_is_there_twice)
{
    each_key(look_unique);
}
END_TEST

static void look_parent(const struct nqi_key *key)
{
    char place[64];
    const struct nqi_key *parent = NULL;

    strncpy(place, key->opt.name, sizeof(place) - 1);
    place[sizeof(place) - 1] = '\0';
    *strrchr(place, '/') = '\0';
    ck_assert_ptr_eq(nqi_key_find(place, nqi_key_name(key)), key);
    ck_assert(nqi_key_is_in(key, place));
    if (!*place || strcmp(place, NQI_CONF_ENTRY) == 0)
        return;
    parent = nqi_key_find("", place + 1);
    ck_assert_ptr_nonnull(parent);
    ck_assert_uint_eq(parent->opt.type, NQI_OPT_OBJECT);
}

START_TEST(every_key_is_found_in_an_object_that_is_a_key)
{
    each_key(look_parent);
    ck_assert_ptr_null(nqi_key_find("", "policy"));
    ck_assert_ptr_null(nqi_key_find("/queue", "queue"));
    ck_assert_ptr_null(nqi_key_find("/que", "ue/policy"));
}
END_TEST

static void look_default(const struct nqi_key *key)
{
    struct nqi_value value = {0};
    char why[NQI_WHY] = "";

    ck_assert_msg(nqi_value_default(&key->opt, "/", &value, why) == NQ_OK, "%s %s", key->opt.name,
                  why);
    nqi_value_fini(&value);
}

START_TEST(every_default_obeys_its_rules)
{
    each_key(look_default);
}
END_TEST

static void look_field(const struct nqi_key *key)
{
    ck_assert_uint_le(key->offset + key->width, sizeof(struct nqi_conf));
    ck_assert(key->width == 0 || key->width == 1 || key->width == 4 || key->width == 8);
    if (!key->width)
        return;
    /* What is kept is read from the file or has a default: no field is left to chance. */
    ck_assert_msg(key->opt.def || key->opt.flags & NQT_OPT_REQUIRED, "%s", key->opt.name);
    ck_assert(!key->later);
    for (const struct nqi_key *other = nqi_keys; other < key; other++)
        ck_assert_msg(!other->width || other->offset != key->offset, "%s", key->opt.name);
}

START_TEST(every_field_has_one_key_and_a_value)
{
    each_key(look_field);
}
END_TEST

START_TEST(other_names_are_no_keys)
{
    for (size_t i = 0; i < nqi_nkey_aliases; i++)
        for (size_t k = 0; k < nqi_nkeys; k++)
            ck_assert_str_ne(nqi_key_aliases[i].name, nqi_key_name(&nqi_keys[k]));
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("conf_table");
    TCase *tc = tcase_create("conf_table");

    tcase_add_test(tc, every_key_has_help_type_and_unit);
    tcase_add_test(tc, no_key_is_there_twice);
    tcase_add_test(tc, every_key_is_found_in_an_object_that_is_a_key);
    tcase_add_test(tc, every_default_obeys_its_rules);
    tcase_add_test(tc, every_field_has_one_key_and_a_value);
    tcase_add_test(tc, other_names_are_no_keys);
    suite_add_tcase(suite, tc);
    return suite;
}

/* core/list.h: intrusive lists keep their order and find their ends again. */
#include "core/list.h"
#include <check.h>

struct item {
    struct nqi_list link;
    struct nqi_node node;
    int value;
};

static struct item items[5];

static void setup(void)
{
    for (int i = 0; i < (int)NQI_LEN(items); i++)
        items[i].value = i;
}

START_TEST(list_keeps_order)
{
    struct nqi_list head;

    nqi_list_init(&head);
    ck_assert(nqi_list_empty(&head));
    ck_assert_ptr_null(nqi_list_first(&head));
    for (size_t i = 0; i < NQI_LEN(items); i++)
        nqi_list_add_tail(&head, &items[i].link);
    for (int i = 0; i < (int)NQI_LEN(items); i++) {
        struct nqi_list *first = nqi_list_first(&head);

        ck_assert_int_eq(NQI_CONTAINER(first, struct item, link)->value, i);
        nqi_list_remove(first);
    }
    ck_assert(nqi_list_empty(&head));
}
END_TEST

START_TEST(list_removes_from_anywhere_and_twice)
{
    struct nqi_list head;

    nqi_list_init(&head);
    for (size_t i = 0; i < 3; i++)
        nqi_list_add_tail(&head, &items[i].link);
    nqi_list_remove(&items[1].link);
    nqi_list_remove(&items[1].link);
    ck_assert_ptr_eq(nqi_list_first(&head), &items[0].link);
    nqi_list_remove(&items[0].link);
    ck_assert_ptr_eq(nqi_list_first(&head), &items[2].link);
    nqi_list_add_tail(&head, &items[0].link);
    nqi_list_remove(&items[2].link);
    ck_assert_ptr_eq(nqi_list_first(&head), &items[0].link);
}
END_TEST

/* Pop everything: the digits of the values in order. */
static int drain(struct nqi_fifo *fifo)
{
    struct nqi_node *node;
    int digits = 0;

    while ((node = nqi_fifo_pop(fifo)))
        digits = digits * 10 + NQI_CONTAINER(node, struct item, node)->value;
    ck_assert(nqi_fifo_empty(fifo));
    return digits;
}

START_TEST(fifo_keeps_order_and_works_again_when_drained)
{
    struct nqi_fifo fifo;

    nqi_fifo_init(&fifo);
    ck_assert_ptr_null(nqi_fifo_pop(&fifo));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 1; i < 5; i++)
            nqi_fifo_push(&fifo, &items[i].node);
        ck_assert_int_eq(drain(&fifo), 1234);
    }
}
END_TEST

START_TEST(fifo_takes_items_in_front)
{
    struct nqi_fifo fifo;

    nqi_fifo_init(&fifo);
    nqi_fifo_push_front(&fifo, &items[2].node);
    nqi_fifo_push(&fifo, &items[3].node);
    nqi_fifo_push_front(&fifo, &items[1].node);
    nqi_fifo_push(&fifo, &items[4].node);
    ck_assert_int_eq(drain(&fifo), 1234);
}
END_TEST

/* What is removed, and what is left of 1 2 3 after 4 is pushed. */
static const int left[] = {1234, 234, 134, 124};

START_TEST(fifo_removes_from_anywhere_and_goes_on)
{
    struct nqi_fifo fifo;

    nqi_fifo_init(&fifo);
    for (size_t i = 1; i < 4; i++)
        nqi_fifo_push(&fifo, &items[i].node);
    ck_assert_int_eq(nqi_fifo_remove(&fifo, &items[_i].node), _i > 0);
    nqi_fifo_push(&fifo, &items[4].node);
    ck_assert_int_eq(drain(&fifo), left[_i]);
}
END_TEST

START_TEST(fifo_removes_its_only_item)
{
    struct nqi_fifo fifo;

    nqi_fifo_init(&fifo);
    nqi_fifo_push(&fifo, &items[1].node);
    ck_assert(nqi_fifo_remove(&fifo, &items[1].node));
    ck_assert(nqi_fifo_empty(&fifo));
    nqi_fifo_push(&fifo, &items[2].node);
    ck_assert_int_eq(drain(&fifo), 2);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("list");
    TCase *tc = tcase_create("list");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, list_keeps_order);
    tcase_add_test(tc, list_removes_from_anywhere_and_twice);
    tcase_add_test(tc, fifo_keeps_order_and_works_again_when_drained);
    tcase_add_test(tc, fifo_takes_items_in_front);
    tcase_add_loop_test(tc, fifo_removes_from_anywhere_and_goes_on, 0, NQI_LEN(left));
    tcase_add_test(tc, fifo_removes_its_only_item);
    suite_add_tcase(suite, tc);
    return suite;
}

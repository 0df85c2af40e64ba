/* SPDX-License-Identifier: MIT */
/*
 * The loop's alarms: each comes once, in the order in which they are due, however
 * they were set, set anew and unset.
 */
#include <check.h>
#include <stdlib.h>

#include "loop.h"

#define ALARMS 1000

struct bell {
	struct loop_alarm alarm;
	unsigned int rings;
};

static struct loop *loop;
static struct bell bells[ALARMS];
static unsigned int rung, awaited;
static uint64_t last_due_ms;

static void ring(struct loop_alarm *alarm)
{
	struct bell *bell = (struct bell *)alarm;

	ck_assert(!loop_alarm_is_set(alarm));
	ck_assert_uint_ge(loop_now_ms(), alarm->due_ms);
	ck_assert_uint_ge(alarm->due_ms, last_due_ms);
	last_due_ms = alarm->due_ms;
	bell->rings++;
	if (++rung == awaited)
		loop_stop(loop);
}

static void set(struct bell *bell, unsigned int delay_ms)
{
	bell->alarm.run = ring;
	ck_assert_int_eq(loop_set_alarm(loop, &bell->alarm, delay_ms), 0);
	ck_assert(loop_alarm_is_set(&bell->alarm));
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
}

static void teardown(void)
{
	loop_free(loop);
}

START_TEST(come_in_the_order_in_which_they_are_due)
{
	srand(1);
	for (unsigned int i = 0; i < ALARMS; i++)
		set(&bells[i], (unsigned int)rand() % 50);
	awaited = ALARMS;
	ck_assert_int_eq(loop_run(loop), 0);
	for (unsigned int i = 0; i < ALARMS; i++)
		ck_assert_uint_eq(bells[i].rings, 1);
}
END_TEST

START_TEST(may_be_set_anew_and_unset)
{
	srand(2);
	for (unsigned int i = 0; i < ALARMS; i++)
		set(&bells[i], (unsigned int)rand() % 50);
	for (unsigned int i = 0; i < ALARMS; i += 2)
		set(&bells[i], (unsigned int)rand() % 50);
	for (unsigned int i = 0; i < ALARMS; i += 3) {
		loop_unset_alarm(loop, &bells[i].alarm);
		loop_unset_alarm(loop, &bells[i].alarm);
		ck_assert(!loop_alarm_is_set(&bells[i].alarm));
	}
	awaited = ALARMS - (ALARMS + 2) / 3;
	ck_assert_int_eq(loop_run(loop), 0);
	for (unsigned int i = 0; i < ALARMS; i++)
		ck_assert_uint_eq(bells[i].rings, i % 3 != 0);
}
END_TEST

static void ring_again(struct loop_alarm *alarm)
{
	ring(alarm);
	if (rung < awaited)
		ck_assert_int_eq(loop_set_alarm(loop, alarm, 0), 0);
}

START_TEST(set_another_one_for_the_next_turn)
{
	awaited = 3;
	set(&bells[0], 0);
	bells[0].alarm.run = ring_again;
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(bells[0].rings, 3);
	ck_assert(!loop_alarm_is_set(&bells[0].alarm));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *alarms = tcase_create("alarms");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(alarms, setup, teardown);
	tcase_add_test(alarms, come_in_the_order_in_which_they_are_due);
	tcase_add_test(alarms, may_be_set_anew_and_unset);
	tcase_add_test(alarms, set_another_one_for_the_next_turn);
	suite_add_tcase(suite, alarms);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

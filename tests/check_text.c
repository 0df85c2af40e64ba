/* SPDX-License-Identifier: MIT */
/* What strangers call themselves, as it goes to terminals and into JSON. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "log.h"
#include "text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *text;
	const char *printable;
	const char *json;
} texts[] = {
	{"", "", "\"\""},
	{"HC-05", "HC-05", "\"HC-05\""},
	{"a\"b\\c/", "a\"b\\c/", "\"a\\\"b\\\\c/\""},
	{"\xc3\xbc\xe2\x82\xac\xf0\x9f\x93\xa1",
	 "\xc3\xbc\xe2\x82\xac\xf0\x9f\x93\xa1",
	 "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x93\xa1\""},
	/* Escapes, also the one that is a single character (U+009B). */
	{"\x1b[31m\x7f\r\n", "?[31m???",
	 "\"\\u001b[31m\\u007f\\u000d\\u000a\""},
	{"\xc2\x9b"
	 "31m\xc2\xa0",
	 "?31m\xc2\xa0", "\"\\u009b31m\xc2\xa0\""},
	/* What turns the direction of the text behind it; and a near miss. */
	{"a\xe2\x80\xae"
	 "b\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\x8e\xd8\x9c\xe2\x80\xaf",
	 "a?b????\xe2\x80\xaf",
	 "\"a\xe2\x80\xae"
	 "b\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\x8e\xd8\x9c\xe2\x80\xaf\""},
	/* No UTF-8: Latin-1, overlong, a surrogate, cut off. */
	{"\xfcx\x9b", "?x?", "\"\\ufffdx\\ufffd\""},
	{"\xc0\xaf", "??", "\"\\ufffd\\ufffd\""},
	{"\xed\xa0\x80", "???", "\"\\ufffd\\ufffd\\ufffd\""},
	{"x\xe2\x82", "x??", "\"x\\ufffd\\ufffd\""},
};

START_TEST(test_printable)
{
	char out[TEXT_QUOTED_BYTES];

	ck_assert_str_eq(text_printable(texts[_i].text, out),
			 texts[_i].printable);
}
END_TEST

/* Too long, it ends in dots, and never in half a character. */
START_TEST(test_printable_is_cut)
{
	char out[TEXT_QUOTED_BYTES];
	char text[TEXT_QUOTED_BYTES + 2];

	for (size_t shift = 0; shift < 3; shift++) {
		memset(text, 'x', sizeof(text));
		text[sizeof(text) - 1] = '\0';
		memcpy(text + sizeof(out) - sizeof("...") - shift,
		       "\xe2\x82\xac", 3);
		text_printable(text, out);
		ck_assert_uint_eq(strlen(out), sizeof(out) - 1 - shift);
		ck_assert_uint_eq(strspn(out, "x"), strlen(out) - 3);
		ck_assert_str_eq(out + strlen(out) - 3, "...");
	}
	memset(text, 0x80, sizeof(text) - 1);
	ck_assert_str_eq(text_printable(text, out), "...");
}
END_TEST

/* Control characters in a log line, whatever the line begins with. */
START_TEST(test_log)
{
	static const char expected[] =
		": \\x1b[m\\xc2\\x9bm\\x0a\\x7f \xc2\xa0\xc3\xbc \xc2\n";
	char line[200];
	int pipes[2], saved = dup(STDERR_FILENO);
	ssize_t got;

	ck_assert_int_eq(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	log_error(": %s", "\x1b[m\xc2\x9bm\n\x7f \xc2\xa0\xc3\xbc \xc2");
	dup2(saved, STDERR_FILENO);
	got = read(pipes[0], line, sizeof(line) - 1);
	ck_assert_int_gt(got, (ssize_t)sizeof(expected) - 1);
	line[got] = '\0';
	ck_assert_str_eq(line + got - (sizeof(expected) - 1), expected);
	close(pipes[0]);
	close(pipes[1]);
	close(saved);
}
END_TEST

static void assert_json(const char *text, const char *expected)
{
	char *json = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&json, &bytes);

	ck_assert_ptr_nonnull(stream);
	json_print_string(stream, text);
	ck_assert_int_eq(fclose(stream), 0);
	ck_assert_str_eq(json, expected);
	free(json);
}

START_TEST(test_json)
{
	assert_json(texts[_i].text, texts[_i].json);
}
END_TEST

START_TEST(test_json_null)
{
	assert_json(NULL, "null");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tcase = tcase_create("text");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, test_printable, 0, COUNT(texts));
	tcase_add_test(tcase, test_printable_is_cut);
	tcase_add_test(tcase, test_log);
	tcase_add_loop_test(tcase, test_json, 0, COUNT(texts));
	tcase_add_test(tcase, test_json_null);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

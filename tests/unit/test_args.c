/* SPDX-License-Identifier: Apache-2.0 */
/* Command-line options of kata: forms that are taken and forms that are refused. */
#include "unit.h"

#include <string.h>

#include "base/own.h"
#include "cli/args.h"
#include "cli/signal_name.h"

struct opts {
	bool detach, tty;
	const char *name;
	struct strv env;
};

static const struct arg_option options[] = {
	{ "detach", 'd', ARG_FLAG, offsetof(struct opts, detach), NULL, "" },
	{ "tty", 't', ARG_FLAG, offsetof(struct opts, tty), NULL, "" },
	{ "name", 'n', ARG_STRING, offsetof(struct opts, name), "NAME", "" },
	{ "env", 'e', ARG_LIST, offsetof(struct opts, env), "NAME", "" },
};

static int split(char *line, char **argv)
{
	char *rest = line;
	int argc = 0;

	while (*rest) {
		argv[argc++] = rest;
		rest += strcspn(rest, " ");
		if (*rest)
			*rest++ = '\0';
	}
	return argc;
}

static int parse(const char *line, struct opts *o, int *first, struct err *e)
{
	char copy[200], *argv[16];
	int argc;

	(void)strncpy(copy, line, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';
	argc = split(copy, argv);
	/* strings point into argv: tests compare before it goes */
	*o = (struct opts){ 0 };
	if (args_parse(argc, argv, options, ARRAY_LEN(options), o, first, e) < 0)
		return -1;
	if (o->name && strcmp(o->name, "box") != 0)
		return err_set(e, ERR_STATE, 0, "name is '%s'", o->name);
	return 0;
}

static void test_mixed(void **state)
{
	char line[] = "web -d - --name box db -- -t x", bad[] = "web --name", *argv[16];
	static const char *const rest[] = { "web", "-", "db", "-t", "x" };
	struct opts o = { 0 };
	struct err e;
	int first, argc = split(line, argv);

	(void)state;
	assert_ok(args_parse_mixed(argc, argv, options, ARRAY_LEN(options), &o, &first, &e),
		  &e);
	assert_true(o.detach && !o.tty);
	assert_string_equal(o.name, "box");
	assert_int_equal(argc - first, ARRAY_LEN(rest));
	for (size_t i = 0; i < ARRAY_LEN(rest); i++)
		assert_string_equal(argv[(size_t)first + i], rest[i]);
	assert_err(args_parse_mixed(split(bad, argv), argv, options, ARRAY_LEN(options), &o,
				    &first, &e),
		   &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "--name needs a value"));
}

static void test_forms(void **state)
{
	static const struct {
		const char *line;
		bool detach, tty, named;
		size_t env;
		int first;
	} rows[] = {
		{ "image cmd -d", false, false, false, 0, 0 },
		{ "-d -t image", true, true, false, 0, 2 },
		{ "-dt image", true, true, false, 0, 1 },
		{ "-tnbox image", false, true, true, 0, 1 },
		{ "-tn box image", false, true, true, 0, 2 },
		{ "--name box image", false, false, true, 0, 2 },
		{ "--name=box --detach=false image", false, false, true, 0, 2 },
		{ "-e A=1 -eB=2 --env C --env=D= x", false, false, false, 4, 6 },
		{ "-d -- -t", true, false, false, 0, 2 },
		{ "-d - x", true, false, false, 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct opts o;
		struct err e;
		int first;

		assert_ok(parse(rows[i].line, &o, &first, &e), &e);
		assert_int_equal(o.detach, rows[i].detach);
		assert_int_equal(o.tty, rows[i].tty);
		assert_int_equal(o.name != NULL, rows[i].named);
		assert_int_equal(o.env.n, rows[i].env);
		assert_int_equal(first, rows[i].first);
		strv_fini(&o.env);
	}
}

static void test_refusals(void **state)
{
	static const struct {
		const char *line, *says;
	} rows[] = {
		{ "--nope", "unknown option '--nope'" },
		{ "--detac", "did you mean --detach" },
		{ "-x", "unknown option '-x'" },
		{ "-dx", "unknown option '-dx'" },
		{ "--name", "--name needs a value" },
		{ "-n", "--name needs a value" },
		{ "--tty=maybe", "neither true nor false" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct opts o;
		struct err e;
		int first;

		assert_err(parse(rows[i].line, &o, &first, &e), &e, ERR_INVALID);
		if (!strstr(e.msg, rows[i].says))
			fail_msg("'%s' lacks '%s'", e.msg, rows[i].says);
		strv_fini(&o.env);
	}
}

static void test_signals(void **state)
{
	struct err e;
	int n;

	(void)state;
	assert_ok(signal_parse("KILL", &n, &e), &e);
	assert_int_equal(n, 9);
	assert_ok(signal_parse("sigterm", &n, &e), &e);
	assert_int_equal(n, 15);
	assert_ok(signal_parse("64", &n, &e), &e);
	assert_int_equal(n, 64);
	assert_ok(signal_parse("SIGRTMIN", &n, &e), &e);
	assert_int_equal(n, 34);
	assert_ok(signal_parse("RTMIN+3", &n, &e), &e);
	assert_int_equal(n, 37);
	assert_ok(signal_parse("SIGRTMAX-1", &n, &e), &e);
	assert_int_equal(n, 63);
	assert_err(signal_parse("RTMIN+31", &n, &e), &e, ERR_INVALID);
	assert_err(signal_parse("RTMIN-1", &n, &e), &e, ERR_INVALID);
	assert_err(signal_parse("RTMINX", &n, &e), &e, ERR_INVALID);
	assert_err(signal_parse("0", &n, &e), &e, ERR_INVALID);
	assert_err(signal_parse("65", &n, &e), &e, ERR_INVALID);
	assert_err(signal_parse("SIGNOPE", &n, &e), &e, ERR_INVALID);
	assert_err(signal_parse("", &n, &e), &e, ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: both forms, hostile text, cut lines that are still whole. */
#include "unit.h"

#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"

static const struct log_ctx whom = { .sandbox = "s1", .container = "c1" };

struct sink {
	int pipe[2];
	char line[4096];
};

static int open_sink(void **state)
{
	static struct sink s;
	struct err e;

	*state = &s;
	return fd_pipe(s.pipe, &e) < 0 || fd_set_nonblock(s.pipe[0], true, &e) < 0;
}

static int close_sink(void **state)
{
	struct sink *s = *state;

	log_setup(&(struct log_config){ .level = LOG_INFO, .fd = STDERR_FILENO });
	fd_close(&s->pipe[0]);
	fd_close(&s->pipe[1]);
	return 0;
}

static void setup(struct sink *s, bool json)
{
	log_setup(&(struct log_config){
		.level = LOG_INFO, .fd = s->pipe[1], .json = json, .source = "unit" });
}

/* The one line that was written, without the time in front. */
static const char *line_of(struct sink *s)
{
	ssize_t n = read(s->pipe[0], s->line, sizeof(s->line) - 1);

	if (n <= 0)
		return "";
	s->line[n] = '\0';
	assert_int_equal(s->line[n - 1], '\n');
	assert_ptr_equal(strchr(s->line, '\n'), s->line + n - 1);
	return strstr(s->line, "level");
}

static void test_text(void **state)
{
	struct sink *s = *state;

	setup(s, false);
	errno = EBADF;
	log_warn(&whom, "a %s", "\"quoted\"\n\x01");
	assert_int_equal(errno, EBADF);
	assert_string_equal(line_of(s), "level=\"warning\" msg=\"a \\\"quoted\\\"\\n\\u0001\" "
					"source=\"unit\" sandbox=\"s1\" container=\"c1\"\n");
}

static void test_plain(void **state)
{
	struct sink *s = *state;
	ssize_t n;

	log_setup(&(struct log_config){
		.level = LOG_INFO, .fd = s->pipe[1], .plain = true, .source = "unit" });
	log_warn(&whom, "it is %s", "so");
	n = read(s->pipe[0], s->line, sizeof(s->line) - 1);
	assert_true(n > 0);
	s->line[n] = '\0';
	assert_string_equal(s->line, "unit: it is so\n");
}

static void test_json(void **state)
{
	struct sink *s = *state;

	setup(s, true);
	log_error(NULL, "back\\slash");
	assert_string_equal(
		line_of(s),
		"level\":\"error\",\"msg\":\"back\\\\slash\",\"source\":\"unit\"}\n");
	assert_memory_equal(s->line, "{\"time\":\"", 9);
}

static void test_cut(void **state)
{
	struct sink *s = *state;
	char huge[3000];
	struct log_ctx long_names = { .sandbox = huge, .container = huge, .exec = huge };

	memset(huge, '\x01', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	setup(s, true);
	log_info(&long_names, "%s", huge);
	assert_non_null(strstr(line_of(s), "\"exec\":\"\\u0001"));
	assert_string_equal(s->line + strlen(s->line) - 3, "\"}\n");
	memset(huge, '"', sizeof(huge) - 1);
	log_info(&long_names, "%s", huge);
	assert_non_null(strstr(line_of(s), "\",\"source\":\"unit\",\"sandbox\":\"\\\""));
	assert_string_equal(s->line + strlen(s->line) - 3, "\"}\n");
}

static void test_level(void **state)
{
	struct sink *s = *state;
	enum log_level level = LOG_ERROR;

	setup(s, false);
	log_debug(NULL, "not wanted");
	assert_string_equal(line_of(s), "");
	log_set_level(LOG_DEBUG);
	log_debug(NULL, "wanted");
	assert_string_not_equal(line_of(s), "");
	assert_true(log_level_parse("trace", &level));
	assert_int_equal(level, LOG_DEBUG);
	assert_false(log_level_parse("loud", &level));
	assert_int_equal(level, LOG_DEBUG);
	log_setup(&(struct log_config){ .level = LOG_DEBUG, .fd = -1 });
	assert_false(log_enabled(LOG_ERROR));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(test_plain, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(test_json, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(test_cut, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(test_level, open_sink, close_sink),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}

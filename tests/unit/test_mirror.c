/* SPDX-License-Identifier: Apache-2.0 */
/* Directories kept like others: what is copied, in which order, and where it ends. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/mirror.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"

static char base[] = "/tmp/kata-mirror.XXXXXX";
static int from = -1, to = -1;
static const struct mirror_limits limits = { .entries = 10, .bytes = 1000, .depth = 2 };

static void put(const char *name, const char *text)
{
	struct err e;

	assert_ok(file_replace(from, name, text, strlen(text), 0640, false, &e), &e);
}

static void expect(const char *name, const char *text)
{
	OWN(free) char *got = NULL;
	struct err e;

	assert_ok(file_read(to, name, 4096, &got, NULL, &e), &e);
	assert_string_equal(got, text);
}

static void mirror(void)
{
	struct err e;

	assert_ok(mirror_tree(from, to, &limits, &e), &e);
}

/* As kubelet's atomic writer: a new directory, the link replaced, the old one removed. */
static void test_kubelet(void **state)
{
	char link[64] = "";
	struct stat a, b;

	(void)state;
	assert_int_equal(mkdirat(from, "..1", 0750), 0);
	put("..1/key", "one");
	assert_int_equal(symlinkat("..1", from, "..data"), 0);
	assert_int_equal(symlinkat("..data/key", from, "key"), 0);
	mirror();
	expect("key", "one");
	assert_int_equal(fstatat(from, "..1/key", &a, 0), 0);
	assert_int_equal(fstatat(to, "..1/key", &b, 0), 0);
	assert_int_equal(b.st_mode, a.st_mode);
	assert_int_equal(b.st_mtim.tv_nsec, a.st_mtim.tv_nsec);
	assert_int_equal(fstatat(to, "..1", &b, 0), 0);
	assert_int_equal(b.st_mode & 07777, 0750);

	assert_int_equal(mkdirat(from, "..2", 0750), 0);
	put("..2/key", "two");
	assert_int_equal(symlinkat("..2", from, "..tmp"), 0);
	assert_int_equal(renameat(from, "..tmp", from, "..data"), 0);
	assert_int_equal(unlinkat(from, "..1/key", 0), 0);
	assert_int_equal(unlinkat(from, "..1", AT_REMOVEDIR), 0);
	mirror();
	expect("key", "two");
	assert_true(readlinkat(to, "..data", link, sizeof(link) - 1) > 0);
	assert_string_equal(link, "..2");
	assert_int_equal(faccessat(to, "..1", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

/* What a program sees that waits: the link last, renamed, and nothing where nothing changed. */
static void test_events(void **state)
{
	OWN(fd) int in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	char path[64], events[4096], names[256] = "";
	ssize_t n;

	(void)state;
	assert_int_equal(mkdirat(from, "..3", 0755), 0);
	put("..3/key", "three");
	assert_int_equal(unlinkat(from, "..data", 0), 0);
	assert_int_equal(symlinkat("..3", from, "..data"), 0);
	assert_true(inotify_add_watch(in, path_of_fd(to, path),
				      IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MODIFY) >= 0);
	mirror();
	n = read(in, events, sizeof(events));
	assert_true(n > 0);
	for (char *p = events; p < events + n;) {
		const struct inotify_event *ev = (const void *)p;

		if (!(ev->mask & IN_CREATE) || !str_starts(ev->name, ".kata"))
			(void)snprintf(names + strlen(names), sizeof(names) - strlen(names),
				       "%s%c ", ev->name,
				       ev->mask & IN_MOVED_TO ? '>'
				       : ev->mask & IN_CREATE ? '+'
				       : ev->mask & IN_DELETE ? '-'
							      : 'm');
		p += sizeof(*ev) + ev->len;
	}
	assert_string_equal(names, "..3+ ..data> ");
	mirror();
	assert_int_equal(read(in, events, sizeof(events)), -1);
}

/* Something else of the same name, and links that lead elsewhere. */
static void test_other_types(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(symlinkat("/etc", to, "name"), 0);
	assert_int_equal(mkdirat(from, "name", 0755), 0);
	put("name/below", "x");
	mirror();
	expect("name/below", "x");
	assert_int_equal(access("/etc/below", F_OK), -1);
	assert_int_equal(unlinkat(from, "name/below", 0), 0);
	assert_int_equal(unlinkat(from, "name", AT_REMOVEDIR), 0);
	put("name", "a file");
	mirror();
	expect("name", "a file");
	assert_int_equal(unlinkat(from, "name", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", from, "name"), 0);
	mirror();
	assert_int_equal(fstatat(to, "name", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(unlinkat(from, "name", 0), 0);
	mirror();
	assert_int_equal(faccessat(to, "name", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void refused(enum err_kind kind, const char *name)
{
	struct err e;

	assert_int_equal(mirror_check(from, &limits, &e), -1);
	assert_int_equal(e.kind, kind);
	assert_non_null(strstr(e.msg, name));
	assert_int_equal(mirror_tree(from, to, &limits, &e), -1);
}

static void test_limits(void **state)
{
	char big[2000] = "", name[16];
	struct err e;

	(void)state;
	assert_ok(mirror_check(from, &limits, &e), &e);
	memset(big, 'x', sizeof(big) - 1);
	put("big", big);
	refused(ERR_NO_MEMORY, "'big'");
	assert_int_equal(unlinkat(from, "big", 0), 0);
	assert_int_equal(mkfifoat(from, "fifo", 0600), 0);
	refused(ERR_UNSUPPORTED, "'fifo'");
	assert_int_equal(unlinkat(from, "fifo", 0), 0);
	assert_int_equal(mkdirat(from, "a", 0755), 0);
	assert_int_equal(mkdirat(from, "a/b", 0755), 0);
	assert_ok(mirror_check(from, &limits, &e), &e);
	assert_int_equal(mkdirat(from, "a/b/deep", 0755), 0);
	refused(ERR_NO_MEMORY, "'deep'");
	assert_ok(path_remove_tree(from, "a", &e), &e);
	for (int i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		put(name, "");
	}
	refused(ERR_NO_MEMORY, "one too many");
}

static int open_in_base(const char *name, int *out)
{
	OWN(free) char *path = str_printf("%s/%s", base, name);

	if (!path || mkdir(path, 0755) < 0)
		return -1;
	*out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *out < 0 ? -1 : 0;
}

static int set_up(void **state)
{
	(void)state;
	return !mkdtemp(base) || open_in_base("from", &from) < 0 || open_in_base("to", &to) < 0
		       ? -1
		       : 0;
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	(void)close(from);
	(void)close(to);
	return path_remove_tree(AT_FDCWD, base, &e);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kubelet),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests_name("mirror", tests, set_up, tear_down);
}

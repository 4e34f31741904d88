/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing the acceleration: every outcome of the test of /dev/kvm, and what is remembered. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "unit.h"
#include "vmm/accel.h"

static char dir[] = "/tmp/accel.XXXXXX";
static struct loop *loop;
static struct child_reaper reaper;

static void says_yes(const char *device, struct accel_verdict *out)
{
	(void)device;
	out->kvm_works = true;
	(void)snprintf(out->why, sizeof(out->why), "fake yes");
}

static void says_no(const char *device, struct accel_verdict *out)
{
	(void)snprintf(out->why, sizeof(out->why), "fake no for %s", device);
}

static void spins(const char *device, struct accel_verdict *out)
{
	(void)device;
	(void)out;
	for (;;)
		__asm__ volatile("");
}

static void sleeps(const char *device, struct accel_verdict *out)
{
	(void)device;
	(void)out;
	for (;;)
		(void)pause();
}

/* The first of two probes, which are processes: there is no file yet. */
static bool is_first(void)
{
	char path[80];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/probed", dir);
	fd = open(path, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	(void)close(fd);
	return true;
}

static void runs_out(const char *device, struct accel_verdict *out)
{
	(void)device;
	out->unsure = true;
	(void)snprintf(out->why, sizeof(out->why), "KVM_CREATE_VM: Cannot allocate memory");
}

static void runs_out_once(const char *device, struct accel_verdict *out)
{
	if (is_first())
		runs_out(device, out);
	else
		says_yes(device, out);
}

static void crashes(const char *device, struct accel_verdict *out)
{
	(void)device;
	(void)out;
	abort();
}

/* Processor time, which a busy host gives late; who uses none is waited for ten times as long.
 */
static struct accel_config config(accel_probe_fn probe, const char *boot_id)
{
	return (struct accel_config){ .device = "/dev/null",
				      .cache_dir = dir,
				      .boot_id = boot_id,
				      .probe = probe,
				      .timeout_ms = probe == sleeps ? 50 : 500 };
}

static struct accel_verdict probe(accel_probe_fn fn, const char *boot_id)
{
	struct accel_config c = config(fn, boot_id);
	struct accel_verdict v;
	struct err e;

	assert_ok(accel_probe(loop, &reaper, &c, &v, &e), &e);
	return v;
}

static bool is_cached(const char *boot_id)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/accel.%s", dir, boot_id);
	return access(path, F_OK) == 0;
}

static void put_cache(const char *boot_id, const char *text, size_t len)
{
	char path[80];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/accel.%s", dir, boot_id);
	assert_ok(file_replace(AT_FDCWD, path, text, len, 0644, false, &e), &e);
}

static void outcomes(void *arg)
{
	struct accel_verdict v;

	(void)arg;
	v = probe(says_yes, "yes");
	assert_true(v.kvm_works && !v.from_cache);
	v = probe(says_no, "yes"); /* remembered: not asked again */
	assert_true(v.kvm_works && v.from_cache);
	assert_string_equal(v.why, "fake yes");
	v = probe(says_no, "no");
	assert_false(v.kvm_works);
	assert_string_equal(v.why, "fake no for /dev/null");
	v = probe(spins, "spin");
	assert_false(v.kvm_works);
	assert_non_null(strstr(v.why, "processor time"));
	assert_true(is_cached("spin"));
	v = probe(sleeps, "sleep");
	assert_false(v.kvm_works);
	assert_false(is_cached("sleep")); /* a busy host may look like that */
	v = probe(crashes, "crash");
	assert_false(v.kvm_works);
	assert_non_null(strstr(v.why, "134"));
	assert_false(is_cached("crash"));
	v = probe(runs_out, "memory");
	assert_false(v.kvm_works);
	assert_non_null(strstr(v.why, "allocate memory"));
	assert_false(is_cached("memory"));
	v = probe(runs_out_once, "moment");
	assert_true(v.kvm_works && !v.from_cache);
	assert_true(is_cached("moment"));
}

static void damaged(void *arg)
{
	static const char *const texts[] = {
		"",
		"kata-accel 1\n",
		"kata-accel 0\ndevice=x\nkvm=no\nwhy=old\n",
		"kata-accel 1\ndevice=1:3:5:99\nkvm=no\nwhy=other device\n",
		"kata-accel 1\ndevice=1:3:5:99\nkvm=no\nwhy=no end",
		"\377\376\0\0binary",
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		put_cache("bad", texts[i], i == 5 ? 10 : strlen(texts[i]));
		struct accel_verdict v = probe(says_yes, "bad");

		assert_true(v.kvm_works && !v.from_cache);
		v = probe(says_no, "bad"); /* replaced by a sound one */
		assert_true(v.kvm_works && v.from_cache);
	}
}

static void choices(void *arg)
{
	struct accel_config yes = config(says_yes, "c1"), no = config(says_no, "c2");
	struct accel_config missing = { .device = "/nonexistent/kvm", .cache_dir = dir };
	struct accel_choice a;
	struct err e;

	(void)arg;
	assert_ok(accel_choose(loop, &reaper, &yes, ACCEL_AUTO, NULL, &a, &e), &e);
	assert_int_equal(a.accel, ACCEL_KVM);
	assert_ok(accel_choose(loop, &reaper, &yes, ACCEL_TCG, NULL, &a, &e), &e);
	assert_int_equal(a.accel, ACCEL_TCG);
	assert_ok(accel_choose(loop, &reaper, &no, ACCEL_AUTO, NULL, &a, &e), &e);
	assert_int_equal(a.accel, ACCEL_TCG);
	a.accel = ACCEL_COUNT_;
	assert_err(accel_choose(loop, &reaper, &no, ACCEL_KVM, NULL, &a, &e), &e,
		   ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "fake no"));
	assert_int_equal(a.accel, ACCEL_COUNT_);
	assert_err(accel_choose(loop, &reaper, &missing, ACCEL_KVM, NULL, &a, &e), &e,
		   ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "/nonexistent/kvm: No such file"));
}

static struct {
	struct accel_verdict says;
	enum accel_certainty sure;
	unsigned count;
	bool slow;
} trial;

static int try_kernel(void *arg, struct accel_verdict *out, enum accel_certainty *sure,
		      struct err *e)
{
	assert_ptr_equal(arg, &trial);
	trial.count++;
	if (trial.slow)
		assert_ok(fiber_sleep(loop, 300, e), e);
	*out = trial.says;
	*sure = trial.sure;
	return 0;
}

static int cancelled(void *arg, struct accel_verdict *out, enum accel_certainty *sure,
		     struct err *e)
{
	(void)arg;
	(void)out;
	(void)sure;
	return err_set(e, ERR_CANCELLED, 0, "no more");
}

static const struct accel_kernel *trial_kernel;

static enum accel choose_for(const struct accel_kernel *k, accel_probe_fn page)
{
	struct accel_config c = config(page, page == says_yes ? "k1" : "k2");
	struct accel_choice a;
	struct err e;

	c.kernel = k;
	assert_ok(accel_choose(loop, &reaper, &c, ACCEL_AUTO, NULL, &a, &e), &e);
	assert_int_equal(a.by_trial, a.accel == ACCEL_KVM && page == says_no);
	return a.accel;
}

static void another_start(void *arg)
{
	bool *done = arg;

	(void)choose_for(trial_kernel, says_no);
	*done = true;
}

static void kernels(void *arg)
{
	struct accel_kernel k = {
		.path = "/k", .key = "1.2", .boot = try_kernel, .arg = &trial, .depends = "so"
	};
	struct accel_config c = config(says_no, "k2");
	struct accel_verdict page = { .why = "page" }, v;
	struct accel_choice a;
	struct err e;

	(void)arg;
	c.kernel = &k;
	trial.says = (struct accel_verdict){ .why = "hangs" };
	/* where guest code runs, no kernel is tried */
	assert_int_equal(choose_for(&k, says_yes), ACCEL_KVM);
	assert_int_equal(trial.count, 0);
	/* one that only looks never tries, and says so */
	assert_ok(accel_look_at_kernel(&c, &page, &v, &e), &e);
	assert_false(v.kvm_works);
	assert_string_equal(v.why, "page; kernel '/k' has not been tried yet");
	assert_int_equal(trial.count, 0);
	/* not sure: tried each time */
	for (unsigned i = 1; i <= 2; i++) {
		assert_int_equal(choose_for(&k, says_no), ACCEL_TCG);
		assert_int_equal(trial.count, i);
	}
	/* sure: once, and a demand is refused with both reasons */
	trial.sure = ACCEL_SURE;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(choose_for(&k, says_no), ACCEL_TCG);
	assert_int_equal(trial.count, 3);
	assert_err(accel_choose(loop, &reaper, &c, ACCEL_KVM, NULL, &a, &e), &e,
		   ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "fake no for /dev/null; kernel '/k' does not boot "
				      "either: hangs"));
	/* the other kernel's verdict is its own */
	k.key = "1.3";
	k.boot = cancelled;
	assert_err(accel_choose(loop, &reaper, &c, ACCEL_AUTO, NULL, &a, &e), &e,
		   ERR_CANCELLED);
	/* no device, nothing to try */
	c.device = "/nonexistent/kvm";
	assert_ok(accel_choose(loop, &reaper, &c, ACCEL_AUTO, NULL, &a, &e), &e);
	assert_int_equal(a.accel, ACCEL_TCG);
}

/* Several that differ in what they depend on, such as pods' parameters: none disturbs another.
 */
static void records(void *arg)
{
	char depends[16];
	struct accel_kernel k = {
		.path = "/k", .key = "2.1", .boot = try_kernel, .arg = &trial
	};
	struct accel_config c = config(says_no, "k2");
	struct accel_verdict page = { .why = "page" }, v;
	struct err e;

	(void)arg;
	k.depends = depends;
	c.kernel = &k;
	trial.sure = ACCEL_SURE;
	trial.count = 0;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 16; i++) {
			(void)snprintf(depends, sizeof(depends), "words %u", i);
			trial.says = (struct accel_verdict){ .kvm_works = i % 2 };
			assert_int_equal(choose_for(&k, says_no),
					 i % 2 ? ACCEL_KVM : ACCEL_TCG);
		}
		assert_int_equal(trial.count, 16);
	}
	/* one more takes the oldest one's place, and no other's */
	(void)snprintf(depends, sizeof(depends), "one more");
	trial.says = (struct accel_verdict){ .kvm_works = true, .why = "answers" };
	assert_int_equal(choose_for(&k, says_no), ACCEL_KVM);
	assert_ok(accel_look_at_kernel(&c, &page, &v, &e), &e);
	assert_true(v.kvm_works && v.from_cache);
	assert_string_equal(v.why, "page; kernel '/k' boots all the same: answers");
	(void)snprintf(depends, sizeof(depends), "words 1");
	assert_int_equal(choose_for(&k, says_no), ACCEL_KVM);
	assert_int_equal(trial.count, 17);
	(void)snprintf(depends, sizeof(depends), "words 0");
	assert_int_equal(choose_for(&k, says_no), ACCEL_KVM);
	assert_int_equal(trial.count, 18);
	/* none is believed any more */
	accel_forget_kernel(&c);
	assert_ok(accel_look_at_kernel(&c, &page, &v, &e), &e);
	assert_non_null(strstr(v.why, "has not been tried yet"));
}

/* What a busy host may have decided holds ten minutes. */
static void for_a_while(void *arg)
{
	struct accel_kernel k = {
		.path = "/k", .key = "3.1", .boot = try_kernel, .arg = &trial, .depends = "so"
	};
	struct accel_config c = config(says_no, "k2");
	struct accel_verdict page = { .why = "page" }, v;
	OWN(free) char *text = NULL;
	char path[80], *at;
	struct err e;

	(void)arg;
	c.kernel = &k;
	trial.sure = ACCEL_FOR_A_WHILE;
	trial.says = (struct accel_verdict){ .why = "slow" };
	trial.count = 0;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(choose_for(&k, says_no), ACCEL_TCG);
	assert_int_equal(trial.count, 1);
	assert_ok(accel_look_at_kernel(&c, &page, &v, &e), &e);
	assert_string_equal(v.why, "page; kernel '/k' does not boot either: slow");
	(void)snprintf(path, sizeof(path), "%s/accel.k2.3.1.0", dir);
	assert_ok(file_read(AT_FDCWD, path, 1000, &text, NULL, &e), &e);
	at = strstr(text, "why=@");
	assert_non_null(at);
	memset(at + 5, '0', strspn(at + 5, "0123456789")); /* long ago */
	assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false, &e), &e);
	assert_int_equal(choose_for(&k, says_no), ACCEL_TCG);
	assert_int_equal(trial.count, 2);
}

/* Two starts at once: one tries, the other has its verdict. */
static void at_once(void *arg)
{
	struct accel_kernel k = {
		.path = "/k", .key = "4.1", .boot = try_kernel, .arg = &trial, .depends = "so"
	};
	bool done = false;
	struct err e;

	(void)arg;
	trial.sure = ACCEL_SURE;
	trial.slow = true;
	trial.count = 0;
	trial_kernel = &k;
	assert_ok(fiber_spawn(loop, "start", another_start, &done, NULL, &e), &e);
	(void)choose_for(&k, says_no);
	while (!done)
		assert_ok(fiber_sleep(loop, 10, &e), &e);
	assert_int_equal(trial.count, 1);
	trial.slow = false;
}

/* The real test against a device that is none: an error, not a crash. */
static void no_kvm(void *arg)
{
	struct accel_verdict v;

	(void)arg;
	v = probe(accel_run_kvm, "null");
	assert_false(v.kvm_works);
	assert_non_null(strstr(v.why, "KVM_GET_API_VERSION"));
}

static void run(void (*fn)(void *arg))
{
	struct err e;

	assert_ok(loop_new(&loop, &e), &e);
	assert_ok(child_reaper_init(&reaper, loop, &e), &e);
	assert_ok(fiber_main(loop, fn, NULL, &e), &e);
	child_reaper_fini(&reaper);
	loop_free(loop);
}

static void test_outcomes(void **state)
{
	(void)state;
	run(outcomes);
}

static void test_damaged_cache(void **state)
{
	(void)state;
	run(damaged);
}

static void test_choices(void **state)
{
	(void)state;
	run(choices);
}

static void test_kernels(void **state)
{
	(void)state;
	run(kernels);
	run(records);
	run(for_a_while);
	run(at_once);
}

static void test_no_kvm(void **state)
{
	(void)state;
	run(no_kvm);
}

static void test_names(void **state)
{
	enum accel a;

	(void)state;
	assert_true(accel_parse("auto", &a) && a == ACCEL_AUTO);
	assert_true(accel_parse("kvm", &a) && a == ACCEL_KVM);
	assert_false(accel_parse("KVM", &a));
	assert_false(accel_parse("", &a));
	assert_in_range(accel_tsc_khz(), 100000, 20000000);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
	struct err e;

	(void)state;
	return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcomes), cmocka_unit_test(test_damaged_cache),
		cmocka_unit_test(test_choices),  cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_no_kvm),   cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("accel", tests, make_dir, drop_dir);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine whose monitor dies, or falls silent, after each command of its life. The monitor is
 * this program once more, copied to where the real one would be and started as that is; there
 * is no guest. Every call then fails in time and by name, the machine's end is told once, and
 * neither processes nor descriptors are left.
 */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "vmm/vmm.h"

enum {
	COMMANDS_MAX = 24, /* more than the life below has */
	CALL_MS = 400,
	START_MS = 5000,
	LIFE_MS = 15000 /* all calls of a life, and the second a monitor has to quit */
};

static char dir[] = "/tmp/kata-monitor.XXXXXX", program[64], disk[64];

/* ---- the monitor ---- */

static int number_behind(int argc, char **argv, const char *key)
{
	for (int i = 1; i < argc; i++) {
		const char *at = strstr(argv[i], key);

		if (at)
			return (int)strtol(at + strlen(key), NULL, 10);
	}
	return -1;
}

/* What a monitor does that is more than an answer. */
enum way {
	WAY_NONE,
	WAY_ENDS_LATER, /* after device_del its channel closes, and then it ends */
	WAY_IS_SLOW,    /* it does the first object-add when nobody waits for it any more */
	WAY_LIES,       /* of what a machine has, and in what form */
	WAY_COUNT_
};

static int last_number(const char *line, const char *key)
{
	const char *at = line, *found = NULL;

	while ((at = strstr(at, key)))
		found = at += strlen(key);
	return found ? (int)strtol(found, NULL, 10) : -1;
}

static bool is_in(const char *line, const char *word)
{
	return strstr(line, word) != NULL;
}

/* Lists with all that a list should not hold. */
static bool lie(int fd, const char *line, int id)
{
	if (is_in(line, "query-hotpluggable-cpus")) {
		(void)dprintf(fd, "{\"return\": [7, null, {}, [], {\"props\": 3}");
		for (int i = 0; i < 1000; i++)
			(void)dprintf(fd, ", {\"qom-path\": %d}", i);
		(void)dprintf(fd, "], \"id\": %d}\n", id);
		return true;
	}
	if (!is_in(line, "query-acpi-ospm-status"))
		return false;
	(void)dprintf(
		fd,
		"{\"return\": [7, null, {\"device\": 1}, {\"device\": \"dimm0\", \"source\": "
		"\"1\", \"status\": []}, {\"source\": 1, \"status\": 0}], \"id\": %d}\n",
		id);
	return true;
}

/* Answers everything, in its way. */
static int odd_monitor(int fd, FILE *f, enum way way)
{
	int objects[8] = { 0 }, dimm = -1, n;
	char line[4096];

	(void)dprintf(fd, "{\"QMP\": {}}\n");
	while (fgets(line, sizeof(line), f)) {
		int id = last_number(line, "\"id\":");

		if (is_in(line, "object-add")) {
			n = last_number(line, "mem");
			if (n < 0 || n >= (int)ARRAY_LEN(objects))
				return 3;
			if (objects[n]++) {
				(void)dprintf(fd,
					      "{\"error\": {\"class\": \"GenericError\", "
					      "\"desc\": \"twice\"}, \"id\": %d}\n",
					      id);
				continue;
			}
			if (n == 0)
				(void)usleep(150 * 1000);
		}
		if (is_in(line, "device_add") && is_in(line, "dimm"))
			dimm = last_number(line, "dimm");
		if (way == WAY_LIES && lie(fd, line, id))
			continue;
		if (is_in(line, "query-acpi-ospm-status"))
			(void)dprintf(fd,
				      "{\"return\": [{\"device\": \"dimm%d\", \"source\": 1, "
				      "\"status\": 0}], \"id\": %d}\n",
				      dimm, id);
		else
			(void)dprintf(fd, "{\"return\": {}, \"id\": %d}\n", id);
		if (is_in(line, "\"quit\""))
			return 0;
		if (way == WAY_ENDS_LATER && is_in(line, "device_del")) {
			(void)fclose(f);
			(void)usleep(200 * 1000);
			return 9;
		}
	}
	return 0;
}

/* Answers as many commands as it may; then it ends, or reads on and says no more. */
static int monitor(int argc, char **argv)
{
	int fd = number_behind(argc, argv, "socket,id=qmp,fd="), id = 0;
	int last = number_behind(argc, argv, "unit.last="), silent;
	char line[4096], answer[200];
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r+");

	silent = number_behind(argc, argv, "unit.silent=");
	if (!f || setvbuf(f, NULL, _IOLBF, 0) != 0)
		return 2;
	if (number_behind(argc, argv, "unit.way=") > WAY_NONE)
		return odd_monitor(fd, f, (enum way)number_behind(argc, argv, "unit.way="));
	(void)fprintf(stderr, "the words of a dying monitor\n");
	if (last < 0)
		return 9;
	(void)dprintf(fd, "{\"QMP\": {}}\n");
	for (int n = 0; fgets(line, sizeof(line), f); n++) {
		const char *at = strstr(line, "\"id\":");

		if (n == last && !silent)
			return 9;
		if (n >= last)
			continue;
		id = at ? (int)strtol(at + 5, NULL, 10) : 0;
		if (strstr(line, "query-cpus-fast"))
			(void)snprintf(answer, sizeof(answer),
				       "{\"return\": [{\"thread-id\": %d}], \"id\": %d}\n",
				       (int)getpid(), id);
		else
			(void)snprintf(answer, sizeof(answer), "{\"return\": {}, \"id\": %d}\n",
				       id);
		(void)dprintf(fd, "{\"event\": \"UNIT\"}\n%s", answer);
		if (strstr(line, "\"quit\""))
			return 0;
	}
	return 0;
}

/* ---- the tests ---- */

struct scene {
	struct loop *loop;
	struct child_reaper reaper;
	int last, silent, exits, failures;
	enum way way;
	struct vmm_exit exit;
};

static void on_exit_told(const struct vmm_exit *x, void *arg)
{
	struct scene *s = arg;

	s->exits++;
	s->exit = *x;
}

/* One call of a life: it succeeds, or says why not. */
static void step(struct scene *s, const char *what, int rc, struct err *e)
{
	if (rc == 0)
		return;
	s->failures++;
	if (e->kind == ERR_NONE || e->msg[0] == '\0')
		fail_msg("%s fails without an error", what);
	err_clear(e);
}

static void use(struct scene *s, struct vmm *v)
{
	struct vmm_device d = { .kind = VMM_DEV_BLK, .id = "disk", .blk = { .path = disk } };
	const struct vmm_extent extents[] = { { disk, 1 }, { disk, 1 } };
	struct vmm_device layers = {
		.kind = VMM_DEV_BLK,
		.id = "layers",
		.blk = { .extents = extents, .extent_count = 2, .read_only = true },
	};
	struct err e = ERR_INIT;
	unsigned vcpus;
	pid_t tids[4];
	size_t count;

	step(s, "threads", vmm_vcpu_threads(v, deadline_in(CALL_MS), tids, 4, &count, &e), &e);
	step(s, "pause", vmm_pause(v, deadline_in(CALL_MS), &e), &e);
	step(s, "resume", vmm_resume(v, deadline_in(CALL_MS), &e), &e);
	step(s, "add", vmm_device_add(v, &d, deadline_in(CALL_MS), NULL, &e), &e);
	step(s, "add layers", vmm_device_add(v, &layers, deadline_in(CALL_MS), NULL, &e), &e);
	step(s, "remove", vmm_device_remove(v, "disk", deadline_in(50), &e), &e);
	step(s, "resize", vmm_resize_vcpus(v, 2, deadline_in(CALL_MS), &vcpus, &e), &e);
}

static void life(void *arg)
{
	static const char *const initrds[] = { TEST_CORPUS "/boot_files/cpio", NULL };
	struct scene *s = arg;
	struct vmm_config c = VMM_CONFIG_INIT;
	OWN(vmm) struct vmm *v = NULL;
	char params[64];
	struct err e = ERR_INIT;
	bool started;

	(void)snprintf(params, sizeof(params), "unit.last=%d unit.silent=%d", s->last,
		       s->silent);
	c.name = "unit";
	c.program = program;
	c.accel = ACCEL_TCG;
	c.kernel = TEST_CORPUS "/boot_files/elf";
	c.initrds = initrds;
	c.kernel_params = params;
	c.memory_mib = 64;
	c.max_vcpus = 2;
	c.uid = c.gid = 65534;
	assert_ok(vmm_new("qemu", s->loop, &s->reaper, &c, on_exit_told, s, &v, &e), &e);
	/* a busy machine may take its time to start what does answer */
	started =
		vmm_start(v, deadline_in(s->silent && !s->last ? CALL_MS : START_MS), &e) == 0;
	if (!started) {
		/* "on failure nothing is left running, and the message has its last words" */
		assert_int_equal(vmm_pid(v), 0);
		if (s->silent ? e.kind != ERR_TIMEOUT
			      : !strstr(e.msg, "the words of a dying monitor"))
			fail_msg("after %d commands: %s", s->last, e.msg);
		assert_int_equal(s->exits, 0);
		return;
	}
	use(s, v);
	step(s, "stop", vmm_stop(v, deadline_in(CALL_MS), &e), &e);
	assert_int_equal(vmm_pid(v), 0);
	assert_int_equal(s->exits, 1);
	assert_true(s->exit.reason != VMM_EXIT_NONE && s->exit.text[0]);
	assert_ok(vmm_stop(v, deadline_in(CALL_MS), &e), &e);
}

static void new_odd(struct scene *s, struct vmm_config *c, struct vmm **out)
{
	static const char *const initrds[] = { TEST_CORPUS "/boot_files/cpio", NULL };
	static char params[32];
	struct err e;

	(void)snprintf(params, sizeof(params), "unit.way=%d", (int)s->way);
	*c = (struct vmm_config)VMM_CONFIG_INIT;
	c->name = "unit";
	c->program = program;
	c->accel = ACCEL_TCG;
	c->kernel = TEST_CORPUS "/boot_files/elf";
	c->initrds = initrds;
	c->kernel_params = params;
	c->memory_mib = 64;
	c->max_memory_mib = 1024;
	c->memory_slots = 4;
	if (s->way == WAY_LIES) { /* without KVM all processors are there from the start */
		c->accel = ACCEL_KVM;
		c->max_vcpus = 4;
	}
	c->hotplug_ports = 2;
	c->uid = c->gid = 65534;
	assert_ok(vmm_new("qemu", s->loop, &s->reaper, c, on_exit_told, s, out, &e), &e);
	assert_ok(vmm_start(*out, deadline_in(START_MS), &e), &e);
}

/* Who waits for the guest to let go of a device hears of the machine's end at once. */
static void ends_later(void *arg)
{
	struct vmm_device d = { .kind = VMM_DEV_BLK, .id = "disk", .blk = { .path = disk } };
	struct scene *s = arg;
	OWN(vmm) struct vmm *v = NULL;
	struct vmm_config c;
	int64_t begin;
	struct err e;

	new_odd(s, &c, &v);
	assert_ok(vmm_device_add(v, &d, deadline_in(START_MS), NULL, &e), &e);
	begin = time_mono_ms();
	assert_err(vmm_device_remove(v, "disk", deadline_in(LIFE_MS), &e), &e, ERR_PEER);
	assert_true(time_mono_ms() - begin < LIFE_MS / 3);
	assert_int_equal(s->exits, 1);
}

/* What was given up and done all the same is in nobody's way. */
static void is_slow(void *arg)
{
	struct scene *s = arg;
	OWN(vmm) struct vmm *v = NULL;
	struct vmm_config c;
	uint64_t mib = 0;
	struct err e;

	new_odd(s, &c, &v);
	assert_err(vmm_resize_memory(v, 192, deadline_in(50), &mib, &e), &e, ERR_TIMEOUT);
	assert_ok(vmm_resize_memory(v, 192, deadline_in(START_MS), &mib, &e), &e);
	assert_int_equal(mib, 192);
	assert_ok(vmm_resize_memory(v, 320, deadline_in(START_MS), &mib, &e), &e);
	assert_int_equal(mib, 320);
	assert_ok(vmm_stop(v, deadline_in(START_MS), &e), &e);
}

/* What it says that cannot be is not believed, nor waited for without end. */
static void lies(void *arg)
{
	struct scene *s = arg;
	OWN(vmm) struct vmm *v = NULL;
	struct vmm_config c;
	unsigned vcpus = 0;
	uint64_t mib = 0;
	struct err e;

	new_odd(s, &c, &v);
	assert_err(vmm_resize_vcpus(v, 2, deadline_in(START_MS), &vcpus, &e), &e, ERR_PEER);
	assert_err(vmm_resize_memory(v, 192, deadline_in(300), &mib, &e), &e, ERR_TIMEOUT);
	assert_ok(vmm_stop(v, deadline_in(START_MS), &e), &e);
}

static int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static const fiber_fn odd_lives[WAY_COUNT_] = {
	[WAY_NONE] = life,
	[WAY_ENDS_LATER] = ends_later,
	[WAY_IS_SLOW] = is_slow,
	[WAY_LIES] = lies,
};

/* Returns how many calls failed. */
static int play_way(int last, int silent, enum way way)
{
	struct scene s = { .last = last, .silent = silent, .way = way };
	int descriptors = open_descriptors();
	int64_t begin = time_mono_ms();
	struct err e;

	assert_ok(loop_new(&s.loop, &e), &e);
	assert_ok(child_reaper_init(&s.reaper, s.loop, &e), &e);
	assert_ok(fiber_main(s.loop, odd_lives[way], &s, &e), &e);
	assert_true(list_empty(&s.reaper.children));
	child_reaper_fini(&s.reaper);
	loop_free(s.loop);
	assert_int_equal(open_descriptors(), descriptors);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_true(time_mono_ms() - begin < LIFE_MS);
	return s.failures;
}

static int play(int last, int silent)
{
	return play_way(last, silent, WAY_NONE);
}

static void test_ends_later(void **state)
{
	(void)state;
	(void)play_way(0, 0, WAY_ENDS_LATER);
}

static void test_is_slow(void **state)
{
	(void)state;
	(void)play_way(0, 0, WAY_IS_SLOW);
}

static void test_lies(void **state)
{
	(void)state;
	(void)play_way(0, 0, WAY_LIES);
}

static void test_dies(void **state)
{
	for (int last = -1; last < COMMANDS_MAX; last++) {
		int failures = play(last, 0);

		if (last == 2)
			assert_true(failures >= 4);
		if (last == COMMANDS_MAX - 1) /* a guest would have let the disk go */
			assert_in_range(failures, 0, 3);
	}
}

static void test_falls_silent(void **state)
{
	(void)play(0, 1);
	(void)play(2, 1);
	(void)play(4, 1);
	(void)play(9, 1); /* between the files of a disk */
}

static int prepare(void **state)
{
	OWN(free) char *text = NULL;
	char bin[48];
	struct err e;
	size_t len;

	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return -1;
	(void)snprintf(bin, sizeof(bin), "%s/bin", dir);
	(void)snprintf(program, sizeof(program), "%s/monitor", bin);
	(void)snprintf(disk, sizeof(disk), "%s/disk", dir);
	if (path_mkdirs(bin, 0755, &e) < 0 ||
	    file_read(AT_FDCWD, "/proc/self/exe", 64 << 20, &text, &len, &e) < 0 ||
	    file_replace(AT_FDCWD, program, text, len, 0755, false, &e) < 0 ||
	    file_replace(AT_FDCWD, disk, "0123", 4, 0600, false, &e) < 0 ||
	    truncate(disk, 4096) < 0)
		return -1;
	return 0;
}

static int clean_up(void **state)
{
	struct err e;

	return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(int argc, char **argv)
{
	const struct log_config silent = { .fd = -1, .source = "unit" };
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dies),       cmocka_unit_test(test_falls_silent),
		cmocka_unit_test(test_ends_later), cmocka_unit_test(test_is_slow),
		cmocka_unit_test(test_lies),
	};

	if (argc > 1)
		_exit(monitor(argc, argv));
	log_setup(&silent);
	(void)signal(SIGPIPE, SIG_IGN); /* as in the engine */
	return cmocka_run_group_tests_name("vmm peer", tests, prepare, clean_up);
}

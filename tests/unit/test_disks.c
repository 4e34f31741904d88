/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that the guest keeps for a while after nobody uses them; the machine is ours. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/loop_internal.h"
#include "sandbox/disks.h"
#include "sandbox/internal.h"
#include "vmm/driver.h"

enum {
	PATIENCE_MS = 20 * 1000
};

struct machine {
	struct vmm vmm;
	unsigned added, asked, removed;
	unsigned refusals; /* so often the guest keeps what it is asked for */
};

struct scene {
	struct loop *loop;
	struct child_reaper reaper;
	struct sandbox *s;
	struct container *c;
	struct machine machine;
	char file[32];
};

static int add(struct vmm *v, const struct vmm_device *d, int64_t deadline,
	       struct vmm_device_addr *addr, struct err *e)
{
	(void)d;
	(void)deadline;
	(void)addr;
	(void)e;
	container_of(v, struct machine, vmm)->added++;
	return 0;
}

static int remove_it(struct vmm *v, const char *id, int64_t deadline, struct err *e)
{
	struct machine *m = container_of(v, struct machine, vmm);

	(void)deadline;
	m->asked++;
	if (m->refusals) {
		m->refusals--;
		return err_set(e, ERR_TIMEOUT, 0, "the guest keeps device '%s'", id);
	}
	m->removed++;
	return 0;
}

static const struct vmm_ops ops = { .device_add = add, .device_remove = remove_it };
static const struct vmm_driver driver = { .name = "ours", .ops = &ops };

static void set_up(struct scene *sc)
{
	struct sandbox_config c = { .id = "box" };
	const struct container_config cc = { .id = "c", .bundle = "/nowhere" };
	struct err e;
	int fd;

	strcpy(sc->file, "/tmp/kata-unit-disk.XXXXXX");
	fd = mkstemp(sc->file);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	assert_ok(child_reaper_init(&sc->reaper, sc->loop, &e), &e);
	assert_ok(sandbox_new(sc->loop, &sc->reaper, &c, &sc->s, &e), &e);
	sc->machine.vmm.driver = &driver;
	sc->machine.vmm.caps = VMM_BIT(VMM_CAP_HOTPLUG_BLK);
	sc->machine.vmm.child.reaper = &sc->reaper; /* it runs */
	sc->s->vmm = &sc->machine.vmm;
	sc->s->state = SANDBOX_READY;
	assert_ok(container_new(sc->s, &cc, &sc->c, &e), &e);
}

static void play(fiber_fn flow)
{
	struct scene sc = { .loop = NULL };
	struct err e;

	assert_ok(loop_new(&sc.loop, &e), &e);
	set_up(&sc);
	assert_ok(fiber_main(sc.loop, flow, &sc, &e), &e);
	sc.s->vmm = NULL;
	list_remove(&sc.c->node);
	process_unref(sc.c->init);
	container_unref(sc.c);
	sandbox_free(sc.s);
	child_reaper_fini(&sc.reaper);
	loop_free(sc.loop);
	assert_int_equal(unlink(sc.file), 0);
}

static void use_and_release(struct scene *sc, unsigned refusals)
{
	struct disk *d;
	struct err e;

	assert_ok(disk_plug(sc->c, sc->file, false, &d, &e), &e);
	sc->machine.refusals = refusals;
	assert_int_equal(disks_release(sc->c, &e), refusals ? -1 : 0);
}

/* It need not be asked for again by anybody: its place in the machine is free, and its file. */
static void is_late(void *arg)
{
	struct scene *sc = arg;
	int64_t deadline = deadline_in(PATIENCE_MS);
	struct err e;

	use_and_release(sc, 2);
	assert_int_equal(sc->machine.asked, 1);
	while (!list_empty(&sc->s->disks)) {
		assert_true(time_mono_ms() < deadline);
		assert_ok(fiber_sleep(sc->loop, 20, &e), &e);
	}
	assert_int_equal(sc->machine.asked, 3);
	assert_int_equal(sc->machine.removed, 1);
	assert_null(sc->s->disks_fiber);
	use_and_release(sc, 0);
	assert_int_equal(sc->machine.added, 2);
}

/* Who wants it before its turn need not wait for that. */
static void is_wanted_again(void *arg)
{
	struct scene *sc = arg;
	struct disk *d;
	struct err e;

	use_and_release(sc, 1);
	assert_ok(disk_plug(sc->c, sc->file, false, &d, &e), &e);
	assert_int_equal(sc->machine.added, 2);
	assert_ok(disks_release(sc->c, &e), &e);
	disks_end(sc->s);
	assert_null(sc->s->disks_fiber);
}

static void never_goes(void *arg)
{
	struct scene *sc = arg;
	struct disk *d;
	struct err e;

	use_and_release(sc, 1000);
	assert_err(disk_plug(sc->c, sc->file, false, &d, &e), &e, ERR_TIMEOUT);
	assert_non_null(strstr(e.msg, "has not let go of"));
	disks_end(sc->s);
	assert_true(list_empty(&sc->s->disks));
	assert_int_equal(sc->machine.removed, 0);
}

static void test_late(void **state)
{
	(void)state;
	play(is_late);
}

static void test_wanted_again(void **state)
{
	(void)state;
	play(is_wanted_again);
}

static void test_never(void **state)
{
	(void)state;
	play(never_goes);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_wanted_again),
		cmocka_unit_test(test_never),
	};

	return cmocka_run_group_tests_name("disks", tests, NULL, NULL);
}

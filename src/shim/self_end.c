/* SPDX-License-Identifier: Apache-2.0 */
/* Recording an exit and ending by oneself. */
#include "shim/self_end.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "sandbox/sandbox.h"
#include "shim/engine.h"
#include "wire/json.h"

static int record_exit(const struct engine *en, const struct process *p, struct err *e)
{
	OWN(jval) struct jval *v = jval_new_object();
	OWN(buf) struct buf text = BUF_INIT;
	char when[TIME_RFC3339_LEN];

	if (!en->status_path)
		return 0;
	time_rfc3339(process_exited_at(p), when);
	if (sandbox_lost_why(en->sandbox) &&
	    jval_set_str(v, "error", sandbox_lost_why(en->sandbox), e) < 0)
		return -1;
	if (jval_set_int(v, "exit_status", process_exit_status(p), e) < 0 ||
	    jval_set_str(v, "exited_at", when, e) < 0 || jval_print(v, false, &text, e) < 0)
		return -1;
	return file_replace_reserved(AT_FDCWD, en->status_path, buf_head(&text), buf_len(&text),
				     e);
}

struct self_end {
	struct engine *en;
	struct process *p;
};

static void self_end_run(void *arg)
{
	OWN(free) struct self_end *s = arg;
	struct container *ct;
	struct err e;

	/*
	 * However long its reader takes, who is a `kata`: if that goes the rest goes nowhere,
	 * and who does not want to wait for it ends the sandbox by force.
	 */
	if (process_drain(s->p, DEADLINE_NONE, &e) < 0)
		log_warn(NULL, "%s", e.msg);
	if (record_exit(s->en, s->p, &e) < 0)
		log_error(NULL, "the exit status is not recorded: %s", e.msg);
	ct = container_find(s->en->sandbox, s->en->main_container);
	if (ct && container_delete(ct, &e) < 0)
		log_warn(NULL, "delete: %s", e.msg);
	process_unref(s->p);
	engine_end(s->en);
}

void self_end_begin(struct engine *en, struct process *p)
{
	struct self_end *s;
	struct err e;

	if (!en->self_ending)
		return;
	en->self_ending = false;
	s = mem_new(struct self_end);
	if (!s)
		goto fail;
	*s = (struct self_end){ .en = en, .p = p };
	process_ref(p);
	if (fiber_spawn(en->loop, "self end", self_end_run, s, NULL, &e) == 0)
		return;
	process_unref(p);
	free(s);
fail:
	log_error(NULL, "out of memory at the end of '%s'", en->id);
	engine_end(en);
}

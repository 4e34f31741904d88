/* SPDX-License-Identifier: Apache-2.0 */
/* The lowest process.oomScoreAdj of a sandbox's containers, for its monitor. */
#include "sandbox/oom_score.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

/* A pod's own container is not asked: it has the least that there is, whatever the pod's class.
 */
static bool says(const struct container *c, int *out)
{
	const Grpc__Process *p = c->spec ? c->spec->process : NULL;

	if (!c->is_sized || !p ||
	    p->has_oomscore_adj_case == GRPC__PROCESS__HAS_OOMSCORE_ADJ__NOT_SET)
		return false;
	*out = (int)p->oomscoreadj;
	return true;
}

static int dearest(const struct sandbox *s)
{
	bool found = false;
	int lowest = 0;

	list_for_each(n, tmp, &s->containers) {
		int own;

		if (!says(list_entry(n, struct container, node), &own))
			continue;
		lowest = found && lowest < own ? lowest : own;
		found = true;
	}
	return found ? lowest : VMM_OOM_SCORE;
}

void oom_score_apply(struct sandbox *s)
{
	pid_t pid = s->vmm ? vmm_pid(s->vmm) : 0;
	char path[48], value[16];
	int score = dearest(s);
	struct err e;

	if (pid <= 0 || score == s->oom_score)
		return;
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	(void)snprintf(value, sizeof(value), "%d", score);
	if (file_write_value(AT_FDCWD, path, value, &e) == 0) {
		s->oom_score = score;
		return;
	}
	if (score != s->oom_score_refused)
		log_info(&s->log,
			 "the machine keeps oom_score_adj %d in place of %d: %s (lowering it "
			 "takes CAP_SYS_RESOURCE)",
			 s->oom_score, score, e.msg);
	s->oom_score_refused = score;
}

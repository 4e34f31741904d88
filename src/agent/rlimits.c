/* SPDX-License-Identifier: Apache-2.0 */
/* process.rlimits. */
#include "oci/rlimits.h"

#include <errno.h>
#include <sys/resource.h>

#include "agent/stage_steps.h"
#include "base/str.h"

int rlimits_apply(const Grpc__Process *p, struct err *e)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		const Grpc__POSIXRlimit *r = p->rlimits[i];
		struct rlimit limit = { .rlim_cur = r->soft, .rlim_max = r->hard };
		int number = rlimit_number(r->type);

		if (number < 0)
			return err_set(e, ERR_INVALID, 0,
				       "process.rlimits[%zu]: unknown type '%.64s'", i,
				       r->type);
		for (size_t j = 0; j < i; j++) {
			if (str_eq(p->rlimits[j]->type, r->type))
				return err_set(e, ERR_INVALID, 0,
					       "process.rlimits[%zu]: %s twice", i, r->type);
		}
		if (setrlimit((unsigned)number, &limit) < 0)
			return err_sys(e, "process.rlimits[%zu]: %s to %llu:%llu", i, r->type,
				       (unsigned long long)r->soft,
				       (unsigned long long)r->hard);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accel_tool [DEVICE]: what the test of a KVM device says, in one line. Status 0: it runs a
 * guest's code; 1: it does not. Static, so that a guest can run it too.
 */
#include <stdio.h>

#include "base/time.h"
#include "vmm/accel.h"

int main(int argc, char **argv)
{
	int64_t begin = time_mono_us();
	struct accel_verdict v;

	accel_run_kvm(argc > 1 ? argv[1] : "/dev/kvm", &v);
	(void)printf("%s: %s, %lld us in all\n", v.kvm_works ? "works" : "does not work", v.why,
		     (long long)(time_mono_us() - begin));
	return v.kvm_works ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Device rules of a cgroup: the program of device_program.c, attached. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "agent/device_program.h"
#include "base/err.h"
#include "base/own.h"
#include "base/sys.h"

static int load(const struct bpf_insn *code, size_t count, int *out, struct err *e)
{
	static const char license[] = "Apache-2.0";
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insn_cnt = (uint32_t)count;
	attr.insns = (uint64_t)(uintptr_t)code;
	attr.license = (uint64_t)(uintptr_t)license;
	fd = sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return err_sys(e, "load the device program");
	*out = fd;
	return 0;
}

/* Without flags the new program takes the place of the one attached before. */
static int attach(int cgroup_fd, int prog_fd, struct err *e)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)prog_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = 0;
	if (sys_bpf(BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "attach the device program");
	return 0;
}

int cgroup_apply_devices(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e)
{
	OWN(free) struct bpf_insn *code = NULL;
	OWN(fd) int prog = -1;
	OWN(fd) int dir = -1;
	size_t count;

	/* without rules the container has the nodes that every one has, as runc's */
	if (device_program(r ? r->devices : NULL, r ? r->n_devices : 0, &code, &count, e) < 0 ||
	    load(code, count, &prog, e) < 0)
		return -1;
	dir = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* bpf refuses O_PATH */
	if (dir < 0)
		return err_sys(e, "open '%s'", c->path);
	return attach(dir, prog, e);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's pure parts: configuration, users, cgroup values, devices, modules, statistics. */
#include "unit.h"

#include <linux/bpf.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "agent/config.h"
#include "agent/device.h"
#include "agent/device_mounts.h"
#include "agent/device_program.h"
#include "agent/fault.h"
#include "agent/file_cache.h"
#include "agent/link.h"
#include "agent/modules.h"
#include "agent/stats.h"
#include "agent/user.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/sys.h"
#include "oci/caps.h"
#include "oci/mount_options.h"
#include "oci/rlimits.h"
#include "wire/netlink.h"

/* protobuf's lists of strings are not const; these are not written to. */
#define LIST(v) ((char *const *)(uintptr_t)(v))

static void test_cmdline(void **state)
{
	static const char text[] =
		"console=ttyS0 agent.log=debug quiet agent.hotplug_timeout=7 "
		"agent.debug_console agent.server_addr=virtio-serial://kata.agent "
		"agent.nothing=1 agent.container_pipe_size=65536\n";
	struct agent_config c;
	struct err e = ERR_INIT;

	(void)state;
	agent_config_init(&c);
	assert_int_equal(agent_config_cmdline(&c, text, sizeof(text) - 1, &e), 0);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.hotplug_timeout_ms, 7000);
	assert_true(c.debug_console);
	assert_string_equal(c.server_addr, "virtio-serial://kata.agent");
	assert_int_equal(c.container_pipe_size, 65536);
	/* a bad word is reported, the others count all the same */
	assert_int_equal(
		agent_config_cmdline(&c, "agent.log=loud agent.log_vport=1025", 35, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(c.log_vport, 1025);
}

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "broken line\n"
			     "user:x:1000:1001::/home/user:/bin/sh\n"
			     "1234:x:77:78::/num:\n"
			     "big:x:4294967295:0::/:\n"
			     "last:x:5:6::/last";
static const char group[] =
	"root:x:0:\nuser:x:1001:\nextra:x:1002:other,user\nmore:x:1003:user\n"
	"bad:x:no:user\nend:x:9:users";

static void test_file_cache(void **state)
{
	(void)state;
	assert_int_equal(file_cache_count("3917\t3766\t45\t0\t66\t0"), 3851);
	assert_int_equal(file_cache_count("10 -3 45 0 15 0"), 0);
	assert_int_equal(file_cache_count("10 3 45"), -1);
	assert_int_equal(file_cache_count(""), -1);
}

static void test_passwd(void **state)
{
	struct passwd_line l;
	struct identity *id = calloc(1, sizeof(*id));
	struct err e;
	gid_t gid;

	(void)state;
	assert_non_null(id);
	assert_true(passwd_find(passwd, sizeof(passwd) - 1, "user", &l));
	assert_int_equal(l.uid, 1000);
	assert_int_equal(l.gid, 1001);
	assert_memory_equal(l.home, "/home/user", l.home_len);
	assert_true(passwd_find(passwd, sizeof(passwd) - 1, "1234", &l)); /* a name first */
	assert_int_equal(l.uid, 77);
	assert_true(passwd_find(passwd, sizeof(passwd) - 1, "5", &l));
	assert_int_equal(l.gid, 6);
	assert_false(passwd_find(passwd, sizeof(passwd) - 1, "nobody", &l));
	assert_false(passwd_find(passwd, sizeof(passwd) - 1, "big", &l));
	assert_false(passwd_find("", 0, "root", &l));
	assert_true(group_find(group, sizeof(group) - 1, "extra", &gid));
	assert_int_equal(gid, 1002);
	assert_true(group_find(group, sizeof(group) - 1, "4711", &gid));
	assert_int_equal(gid, 4711);
	assert_false(group_find(group, sizeof(group) - 1, "bad", &gid));
	assert_int_equal(group_add_memberships(group, sizeof(group) - 1, "user", 4, id, &e), 0);
	assert_int_equal(id->group_count, 2);
	assert_int_equal(id->groups[0], 1002);
	assert_int_equal(id->groups[1], 1003);
	free(id);
}

static void test_cgroup_values(void **state)
{
	char path[128];
	struct err e;

	(void)state;
	assert_int_equal(cgroup_cpu_weight(2), 1);
	assert_int_equal(cgroup_cpu_weight(1024), 39);
	assert_int_equal(cgroup_cpu_weight(262144), 10000);
	assert_int_equal(cgroup_cpu_weight(1), 1);
	assert_int_equal(cgroup_io_weight(10), 1);
	assert_int_equal(cgroup_io_weight(1000), 10000);
	assert_int_equal(cgroup_path("/c", "/a//b/./c", "id", path, sizeof(path), &e), 0);
	assert_string_equal(path, "/c/kata/a/b/c");
	assert_int_equal(cgroup_path("/c", "", "id", path, sizeof(path), &e), 0);
	assert_string_equal(path, "/c/kata/id");
	assert_int_equal(
		cgroup_path("/c", "system.slice:docker:abc", "id", path, sizeof(path), &e), 0);
	assert_string_equal(path, "/c/kata/system.slice/docker-abc.scope");
	assert_int_equal(cgroup_path("/c", "/a/../b", "id", path, sizeof(path), &e), -1);
	assert_int_equal(cgroup_path("/c", "..:..:..", "id", path, sizeof(path), &e), -1);
}

/* Runs a device program: the few instructions that the generator uses. */
static int run_program(const struct bpf_insn *code, size_t n, uint32_t type, uint32_t access,
		       uint32_t major_no, uint32_t minor_no)
{
	const uint32_t ctx[3] = { access << 16 | type, major_no, minor_no };
	uint64_t r[11] = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct bpf_insn *p = &code[i];
		uint64_t *d = &r[p->dst_reg], s = r[p->src_reg];

		switch (p->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			assert_true(p->src_reg == 1 && p->off >= 0 && p->off <= 8);
			*d = ctx[p->off / 4];
			break;
		case BPF_ALU64 | BPF_MOV | BPF_X:
			*d = s;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			*d = (uint64_t)(int64_t)p->imm;
			break;
		case BPF_ALU64 | BPF_AND | BPF_K:
			*d &= (uint64_t)(int64_t)p->imm;
			break;
		case BPF_ALU64 | BPF_RSH | BPF_K:
			*d >>= p->imm;
			break;
		case BPF_JMP | BPF_JNE | BPF_K:
			i += *d != (uint64_t)(int64_t)p->imm ? (size_t)p->off : 0;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			i += *d == (uint64_t)(int64_t)p->imm ? (size_t)p->off : 0;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)r[0];
		default:
			fail_msg("instruction %02x", p->code);
		}
	}
	fail_msg("the program has no end");
	return -1;
}

static Grpc__LinuxDeviceCgroup rule(bool allow, const char *type, int64_t major_no,
				    int64_t minor_no, const char *access)
{
	Grpc__LinuxDeviceCgroup d = GRPC__LINUX_DEVICE_CGROUP__INIT;

	d.allow = allow;
	d.type = (char *)(uintptr_t)type;
	d.major = major_no;
	d.minor = minor_no;
	d.access = (char *)(uintptr_t)access;
	return d;
}

/* A disk's number here may be another's on the host, and a character device has it as well. */
static void test_device_rules(void **state)
{
	const struct renumbering disks[] = { { makedev(7, 0), makedev(254, 0) },
					     { makedev(254, 0), makedev(254, 16) },
					     { makedev(1, 3), makedev(254, 32) } };
	Grpc__LinuxDeviceCgroup rules[] = {
		rule(true, "b", 7, 0, "r"),    rule(true, "b", 254, 0, "w"),
		rule(true, "c", 1, 3, "rwm"),  rule(true, "b", 1, 3, "m"),
		rule(false, "a", -1, -1, "r"), rule(true, "b", 8, 0, "r"),
	};
	static const int64_t want[][2] = { { 254, 0 },  { 254, 16 }, { 1, 3 },
					   { 254, 32 }, { -1, -1 },  { 8, 0 } };
	Grpc__LinuxDeviceCgroup *list[ARRAY_LEN(rules)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		list[i] = &rules[i];
	device_rules_renumber(list, ARRAY_LEN(list), disks, ARRAY_LEN(disks));
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		assert_int_equal(rules[i].major, want[i][0]);
		assert_int_equal(rules[i].minor, want[i][1]);
	}
}

static void assert_no_mount(const char *path, const char *name, const char *option,
			    enum err_kind kind, const char *words)
{
	OWN(arena) struct arena a = { .limit = 1 << 16 };
	char *options[] = { (char *)(uintptr_t)option }, source[] = "c 1:3",
	     other[] = "c 195:77", type[] = "bind", destination[] = "/etc/x";
	Grpc__CreateContainerRequest r = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__Mount m[] = { GRPC__MOUNT__INIT, GRPC__MOUNT__INIT },
		    *mounts[] = { &m[0], &m[1] };
	Grpc__Device d = GRPC__DEVICE__INIT, *devices[] = { &d };
	Grpc__Spec spec = GRPC__SPEC__INIT;
	struct err e;

	m[0].source = source;
	m[1].source = other;
	m[0].type = m[1].type = type;
	m[0].destination = m[1].destination = destination;
	d.container_path = (char *)(uintptr_t)path;
	d.vm_path = (char *)(uintptr_t)name;
	d.options = options;
	d.n_options = 1;
	spec.mounts = mounts;
	spec.n_mounts = ARRAY_LEN(mounts);
	r.oci = &spec;
	r.devices = devices;
	r.n_devices = 1;
	assert_true(device_mount_is(&d));
	assert_err(device_mount_char(&r, 0, &a, &e), &e, kind);
	if (!strstr(e.msg, words))
		fail_msg("'%s' lacks '%s'", e.msg, words);
	assert_ptr_equal(m[0].source, source);
	assert_ptr_equal(m[1].source, other);
}

static void test_device_mounts(void **state)
{
	static const char option[] = "mode=0640,uid=7,gid=9";
	Grpc__Device d = GRPC__DEVICE__INIT;
	char path[] = "/dev/null";

	(void)state;
	d.container_path = path;
	assert_false(device_mount_is(&d));
	assert_no_mount("c 1:5", "", option, ERR_INVALID, "is the source of no mount");
	assert_no_mount("c 1", "", option, ERR_INVALID, "'c 1' is not the source");
	assert_no_mount("c 1:3x", "", option, ERR_INVALID, "'c 1:3x' is not the source");
	assert_no_mount("c 1:-3", "", option, ERR_INVALID, "'c 1:-3' is not the source");
	assert_no_mount("c 1:3", "", "mode=0640,uid=7,gid=4294967296", ERR_INVALID,
			"'c 1:3' is not the source");
	assert_no_mount("c 1:3", "", "mode=x", ERR_INVALID, "'c 1:3' is not the source");
	assert_no_mount("c 1:3", "zero", option, ERR_UNSUPPORTED,
			"the guest has no 'zero': its device c 1:3 is 'null'");
	assert_no_mount("c 195:77", "", option, ERR_UNSUPPORTED,
			"mount on '/etc/x': the guest has no device c 195:77");
}

static void test_device_program(void **state)
{
	enum {
		B = BPF_DEVCG_DEV_BLOCK,
		C = BPF_DEVCG_DEV_CHAR,
		M = 1,
		R = 2,
		W = 4
	};
	Grpc__LinuxDeviceCgroup rules[] = {
		rule(false, "a", -1, -1, "rwm"), rule(true, "b", 8, -1, "r"),
		rule(true, "b", 8, 1, "w"),      rule(false, "b", 8, 2, "r"),
		rule(false, "c", 1, 5, "w"),
	};
	Grpc__LinuxDeviceCgroup *list[] = { &rules[0], &rules[1], &rules[2], &rules[3],
					    &rules[4] };
	OWN(free) struct bpf_insn *p = NULL;
	struct bpf_insn *all = NULL;
	struct err e;
	size_t n;

	(void)state;
	assert_int_equal(device_program(list, ARRAY_LEN(list), &p, &n, &e), 0);
	assert_int_equal(run_program(p, n, B, R, 8, 0), 1);
	assert_int_equal(run_program(p, n, B, W, 8, 0), 0);
	assert_int_equal(run_program(p, n, B, R | W, 8, 1), 1); /* two rules together */
	assert_int_equal(run_program(p, n, B, R, 8, 2), 0);
	assert_int_equal(run_program(p, n, B, R | W, 8, 2), 0);
	assert_int_equal(run_program(p, n, C, R | W, 1, 11), 0);
	/* nodes every container has cannot be taken away */
	assert_int_equal(run_program(p, n, C, W, 1, 5), 1);
	rules[0].allow = true;
	assert_int_equal(device_program(list, 1, &all, &n, &e), 0);
	assert_int_equal(run_program(all, n, C, R | W | M, 9, 9), 1);
	free(all);
	rules[0].access = (char *)(uintptr_t) "rx";
	assert_int_equal(device_program(list, 1, &all, &n, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void test_alias(void **state)
{
	static const char table[] =
		"char_major_10_232 kvm_amd\nchar_major_10_232 kvm_intel\n"
		"fs_ext4 ext4\npci:v00001AF4d*sv* virtio_pci\nx[a-b]_y inside\n";
	char out[64], name[64];
	size_t at = 0;

	(void)state;
	assert_true(module_normalise("char-major-10-232", out, sizeof(out)));
	assert_string_equal(out, "char_major_10_232");
	assert_true(module_normalise("x[a-b]-y", out, sizeof(out)));
	assert_string_equal(out, "x[a-b]_y");
	assert_false(module_normalise("too-long", out, 4));
	assert_string_equal(alias_next(table, &at, "char_major_10_232", name, sizeof(name)),
			    "kvm_amd");
	assert_string_equal(alias_next(table, &at, "char_major_10_232", name, sizeof(name)),
			    "kvm_intel");
	assert_null(alias_next(table, &at, "char_major_10_232", name, sizeof(name)));
	at = 0;
	assert_string_equal(
		alias_next(table, &at, "pci:v00001AF4d00001sv5", name, sizeof(name)),
		"virtio_pci");
	at = 0;
	assert_string_equal(alias_next(table, &at, "xb_y", name, sizeof(name)), "inside");
}

static void test_stats_text(void **state)
{
	static const char text[] = "usage_usec 12\nuser_usec 7\nnr max\nbad x\n";
	uint64_t v;

	(void)state;
	assert_true(stats_value(text, "user_usec", &v));
	assert_int_equal(v, 7);
	assert_true(stats_value(text, "nr", &v));
	assert_true(v == UINT64_MAX);
	assert_false(stats_value(text, "usec", &v));
	assert_false(stats_value(text, "bad", &v));
	assert_true(stats_number("123\n", &v));
	assert_int_equal(v, 123);
	assert_false(stats_number("-1", &v));
}

static void test_mount_words(void **state)
{
	static const char *const words[] = { "ro",      "nosuid", "suid",   "noatime", "rro",
					     "size=1k", "mode=7", "rslave", "rbind" };
	static const char *const empty[] = { "" };
	struct mount_options o;
	struct err e;

	(void)state;
	assert_int_equal(mount_options_parse(LIST(words), ARRAY_LEN(words), &o, &e), 0);
	assert_int_equal(o.flags, MS_RDONLY | MS_NOATIME | MS_BIND | MS_REC);
	assert_int_equal(o.attr_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME);
	assert_int_equal(o.attr_clear, MOUNT_ATTR_NOSUID | MOUNT_ATTR__ATIME);
	assert_int_equal(o.rec_set, MOUNT_ATTR_RDONLY);
	assert_int_equal(o.propagation, MS_SLAVE | MS_REC);
	assert_string_equal(o.data, "size=1k,mode=7");
	mount_options_fini(&o);
	assert_int_equal(mount_options_parse(LIST(empty), 1, &o, &e), -1);
	assert_true(mount_options_knows("nosymfollow") && mount_options_knows("tmpcopyup"));
	assert_false(mount_options_knows("size=1"));
}

static void test_names(void **state)
{
	static const char *const caps[] = { "CAP_CHOWN", "net_raw" };
	static const char *const bad[] = { "CAP_FLY" };
	uint64_t mask;
	struct err e;

	(void)state;
	assert_int_equal(cap_mask(LIST(caps), 2, &mask, &e), 0);
	assert_int_equal(mask, 1U << 0 | 1U << 13);
	assert_int_equal(cap_mask(LIST(bad), 1, &mask, &e), -1);
	assert_string_equal(cap_name(40), "CAP_CHECKPOINT_RESTORE");
	assert_null(cap_name(41));
	assert_int_equal(rlimit_number("RLIMIT_NOFILE"), 7);
	assert_int_equal(rlimit_number("NOFILE"), -1);
}

static void test_addresses(void **state)
{
	struct ip ip;
	uint8_t mac[6];
	struct err e;

	(void)state;
	assert_int_equal(ip_parse("10.1.2.3/24", &ip, &e), 0);
	assert_int_equal(ip.prefix, 24);
	assert_int_equal(ip_parse("fd00::1", &ip, &e), 0);
	assert_int_equal(ip.prefix, 128);
	assert_int_equal(ip_parse("10.1.2.3/33", &ip, &e), -1);
	assert_int_equal(ip_parse("10.1.2", &ip, &e), -1);
	assert_true(mac_parse("02:00:00:aa:bb:cc", mac));
	assert_int_equal(mac[3], 0xaa);
	assert_false(mac_parse("02:00:00:aa:bb", mac));
	assert_false(mac_parse("02:00:00:aa:bb:cc:dd", mac));
}

static void test_netlink(void **state)
{
	struct ifinfomsg info = { .ifi_index = 3 };
	struct nl_attr a[IFLA_MTU + 1];
	const struct nlmsghdr *m;
	struct nl_request r;
	struct nlmsghdr h;
	const uint8_t *p = r.data;
	char name[16], big[5000] = { 0 };
	size_t left, whole;
	uint32_t mtu;

	(void)state;
	nl_start(&r, RTM_NEWLINK, 0, &info, sizeof(info));
	nl_put_str(&r, IFLA_IFNAME, "eth0");
	nl_put_u32(&r, IFLA_MTU, 1400);
	memcpy(&h, r.data, sizeof(h));
	h.nlmsg_len = (uint32_t)r.len;
	memcpy(r.data, &h, sizeof(h));
	whole = left = r.len;
	assert_int_equal(nl_next(&p, &left, &m), 1);
	assert_int_equal(nl_parse(m, sizeof(info), a, IFLA_MTU), 0);
	assert_int_equal(nl_get_str(&a[IFLA_IFNAME], name, sizeof(name)), 0);
	assert_string_equal(name, "eth0");
	assert_int_equal(nl_get_u32(&a[IFLA_MTU], &mtu), 0);
	assert_int_equal(mtu, 1400);
	assert_int_equal(nl_get_str(&a[IFLA_IFNAME], name, 3), -1);
	assert_int_equal(nl_next(&p, &left, &m), 0);
	/* cut anywhere, it is broken or ends, and is never read beyond */
	for (size_t n = 1; n < whole; n++) {
		OWN(free) uint8_t *cut = malloc(n);

		assert_non_null(cut);
		memcpy(cut, r.data, n);
		p = cut;
		left = n;
		assert_int_equal(nl_next(&p, &left, &m), -1);
	}
	/* an attribute that claims more than there is */
	r.data[sizeof(h) + sizeof(info)] = 0xff;
	assert_int_equal(nl_parse((const struct nlmsghdr *)(const void *)r.data, sizeof(info),
				  a, IFLA_MTU),
			 -1);
	nl_put(&r, 1, big, sizeof(big));
	assert_true(r.overflow);
}

/* A fault says where, and still ends the process as the kernel does. */
static void test_fault(void **state)
{
	volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char said[128] = "", want[32];
	int p[2], status;
	pid_t pid;

	(void)state;
	assert_true(page != MAP_FAILED);
	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(p[1], STDERR_FILENO);
		fault_report();
		_exit(page[8]);
	}
	(void)close(p[1]);
	assert_true(read(p[0], said, sizeof(said) - 1) > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	assert_non_null(strstr(said, "kata-agent: signal 11 at "));
	(void)snprintf(want, sizeof(want), " for %016llx\n",
		       (unsigned long long)(uintptr_t)page + 8);
	assert_non_null(strstr(said, want));
	(void)close(p[0]);
	(void)munmap((void *)(uintptr_t)page, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault),          cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_passwd),         cmocka_unit_test(test_cgroup_values),
		cmocka_unit_test(test_device_program), cmocka_unit_test(test_alias),
		cmocka_unit_test(test_stats_text),     cmocka_unit_test(test_mount_words),
		cmocka_unit_test(test_names),          cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_netlink),        cmocka_unit_test(test_file_cache),
		cmocka_unit_test(test_device_rules),   cmocka_unit_test(test_device_mounts),
	};

	return cmocka_run_group_tests_name("agent_parts", tests, NULL, NULL);
}

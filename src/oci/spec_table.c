/* SPDX-License-Identifier: Apache-2.0 */
/* The OCI runtime specification as tables: one row per member of its JSON form. */
#include "oci/spec_table.h"

#include "base/own.h"
#include "oci.pb-c.h"
#include "oci/spec_check.h"

/* clang-format off */
#define TYPE(name, message, ...)                                                  \
	static const struct oci_field name##_fields[] = { __VA_ARGS__ };          \
	static const struct oci_type type_##name = {                              \
		&grpc__##message##__descriptor, name##_fields, ARRAY_LEN(name##_fields), NULL }
#define REFUSED(json_name, why) { json_name, 0, F_REFUSED, .note = why }
#define IGNORED(json_name, why) { json_name, 0, F_IGNORED, .note = why }

static const char *const namespaces[] = {
	"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time", NULL };
static const char *const node_types[] = { "c", "b", "u", "p", NULL };
static const char *const rule_types[] = { "a", "c", "b", NULL };
static const char *const propagations[] = {
	"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
	NULL };
static const char *const io_classes[] = {
	"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", NULL };
static const char *const policies[] = {
	"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
	"SCHED_DEADLINE", NULL };
static const char *const sched_flags[] = {
	"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
	"SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
	"SCHED_FLAG_UTIL_CLAMP_MAX", NULL };
static const char *const domains[] = { "LINUX", "LINUX32", NULL };
static const char *const actions[] = {
	"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
	"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
	NULL };
static const char *const archs[] = {
	"SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
	"SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
	"SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
	"SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC",
	"SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",
	"SCMP_ARCH_SH", "SCMP_ARCH_SHEB", NULL };
static const char *const filter_flags[] = {
	"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
	"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL };
static const char *const compare_ops[] = {
	"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
	"SCMP_CMP_MASKED_EQ", NULL };

TYPE(box, box,
	{ "height", 1 },
	{ "width",  2 });
TYPE(user, user,
	{ "uid",            1, F_KEEP },
	{ "gid",            2, F_KEEP },
	{ "umask",          1000, F_RANGE, .min = 0, .max = 07777 },
	{ "additionalGids", 3 },
	{ "username",       4 });
TYPE(capabilities, linux_capabilities,
	{ "bounding",    1, .known = oci_known_cap },
	{ "effective",   2, .known = oci_known_cap },
	{ "inheritable", 3, .known = oci_known_cap },
	{ "permitted",   4, .known = oci_known_cap },
	{ "ambient",     5, .known = oci_known_cap });
TYPE(rlimit, posixrlimit,
	{ "type", 1, F_REQUIRED | F_NONEMPTY, .known = oci_known_rlimit },
	{ "hard", 2, F_REQUIRED | F_KEEP },
	{ "soft", 3, F_REQUIRED | F_KEEP });
TYPE(io_priority, iopriority,
	{ "class",    1, F_REQUIRED | F_NONEMPTY, .choices = io_classes },
	{ "priority", 2, F_KEEP | F_RANGE, .min = 0, .max = 7 });
TYPE(scheduler, scheduler,
	{ "policy",   1, F_REQUIRED | F_NONEMPTY, .choices = policies },
	{ "nice",     2, F_RANGE, .min = -20, .max = 19 },
	{ "priority", 3, F_RANGE, .min = 0, .max = 99 },
	{ "flags",    4, .choices = sched_flags },
	{ "runtime",  5 },
	{ "deadline", 6 },
	{ "period",   7 });
TYPE(affinity, exec_cpuaffinity,
	{ "initial", 1 },
	{ "final",   2 });
static const struct oci_field process_fields[] = {
	{ "terminal",        1 },
	{ "consoleSize",     2, .sub = &type_box },
	{ "user",            3, .sub = &type_user },
	{ "args",            4, F_NONEMPTY },
	{ "env",             5 },
	{ "cwd",             6, F_NONEMPTY | F_ABSOLUTE },
	{ "capabilities",    7, .sub = &type_capabilities },
	{ "rlimits",         8, F_UNIQUE, .sub = &type_rlimit },
	{ "noNewPrivileges", 9 },
	{ "apparmorProfile", 10 },
	{ "oomScoreAdj",     11, F_RANGE, .min = -1000, .max = 1000, .flag = 1000 },
	{ "selinuxLabel",    12 },
	{ "ioPriority",      1001, .sub = &type_io_priority },
	{ "scheduler",       1002, .sub = &type_scheduler },
	{ "execCPUAffinity", 1003, .sub = &type_affinity },
	REFUSED("commandLine", "it is for Windows"),
};
TYPE(root, root,
	{ "path",     1, F_REQUIRED | F_NONEMPTY },
	{ "readonly", 2 });
TYPE(id_mapping, linux_idmapping,
	{ "hostID",      1, F_REQUIRED | F_KEEP },
	{ "containerID", 2, F_REQUIRED | F_KEEP },
	{ "size",        3, F_REQUIRED | F_KEEP | F_RANGE, .min = 1, .max = UINT32_MAX });
TYPE(mount, mount,
	{ "destination", 1, F_REQUIRED | F_NONEMPTY | F_ABSOLUTE },
	{ "type",        3 },
	{ "source",      2 },
	{ "options",     4 },
	{ "uidMappings", 1000, .sub = &type_id_mapping },
	{ "gidMappings", 1001, .sub = &type_id_mapping });
TYPE(hook, hook,
	{ "path",    1, F_REQUIRED | F_NONEMPTY | F_ABSOLUTE },
	{ "args",    2 },
	{ "env",     3 },
	{ "timeout", 4, F_RANGE, .min = 0, .max = INT32_MAX });
TYPE(hooks, hooks,
	{ "prestart",        1, .sub = &type_hook },
	{ "createRuntime",   4, .sub = &type_hook },
	{ "createContainer", 5, .sub = &type_hook },
	{ "startContainer",  6, .sub = &type_hook },
	{ "poststart",       2, .sub = &type_hook },
	{ "poststop",        3, .sub = &type_hook });
TYPE(namespace, linux_namespace,
	{ "type", 1, F_REQUIRED | F_NONEMPTY, .choices = namespaces },
	{ "path", 2, F_ABSOLUTE });
TYPE(device, linux_device,
	{ "path",     1, F_REQUIRED | F_NONEMPTY | F_ABSOLUTE },
	{ "type",     2, F_REQUIRED | F_NONEMPTY, .choices = node_types },
	{ "major",    3, F_KEEP },
	{ "minor",    4, F_KEEP },
	{ "fileMode", 5, F_ABSENT, .absent = 0666 },
	{ "uid",      6 },
	{ "gid",      7 });
TYPE(device_rule, linux_device_cgroup,
	{ "allow",  1, F_REQUIRED | F_KEEP },
	{ "type",   2, .choices = rule_types },
	{ "major",  3, F_ABSENT, .absent = -1 },
	{ "minor",  4, F_ABSENT, .absent = -1 },
	{ "access", 5 });
TYPE(memory, linux_memory,
	{ "limit",             1, F_RANGE, .min = -1, .max = INT64_MAX },
	{ "reservation",       2, F_RANGE, .min = -1, .max = INT64_MAX },
	{ "swap",              3, F_RANGE, .min = -1, .max = INT64_MAX },
	{ "kernel",            4, F_RANGE, .min = -1, .max = INT64_MAX },
	{ "kernelTCP",         5, F_RANGE, .min = -1, .max = INT64_MAX },
	{ "swappiness",        6, F_RANGE, .min = 0, .max = 100, .flag = 1000 },
	{ "disableOOMKiller",  7 },
	{ "checkBeforeUpdate", 1001 },
	IGNORED("useHierarchy", "cgroup v2 is always hierarchical"));
TYPE(cpu, linux_cpu,
	{ "shares",          1 },
	{ "quota",           2 },
	{ "burst",           1000 },
	{ "period",          3 },
	{ "realtimeRuntime", 4 },
	{ "realtimePeriod",  5 },
	{ "cpus",            6 },
	{ "mems",            7 },
	{ "idle",            1001, F_RANGE, .min = 0, .max = 1 });
TYPE(pids, linux_pids,
	{ "limit", 1, F_KEEP | F_RANGE, .min = -1, .max = INT64_MAX });
TYPE(weight, linux_weight_device,
	{ "major",      1, F_REQUIRED | F_KEEP },
	{ "minor",      2, F_REQUIRED | F_KEEP },
	{ "weight",     3 },
	{ "leafWeight", 4 });
TYPE(throttle, linux_throttle_device,
	{ "major", 1, F_REQUIRED | F_KEEP },
	{ "minor", 2, F_REQUIRED | F_KEEP },
	{ "rate",  3, F_REQUIRED | F_KEEP });
TYPE(block_io, linux_block_io,
	{ "weight",                  1, F_RANGE, .min = 0, .max = 1000 },
	{ "leafWeight",              2, F_RANGE, .min = 0, .max = 1000 },
	{ "weightDevice",            3, .sub = &type_weight },
	{ "throttleReadBpsDevice",   4, .sub = &type_throttle },
	{ "throttleWriteBpsDevice",  5, .sub = &type_throttle },
	{ "throttleReadIOPSDevice",  6, .sub = &type_throttle },
	{ "throttleWriteIOPSDevice", 7, .sub = &type_throttle });
TYPE(hugepage, linux_hugepage_limit,
	{ "pageSize", 1, F_REQUIRED | F_NONEMPTY },
	{ "limit",    2, F_REQUIRED | F_KEEP });
TYPE(net_priority, linux_interface_priority,
	{ "name",     1, F_REQUIRED | F_NONEMPTY },
	{ "priority", 2, F_REQUIRED | F_KEEP });
TYPE(network, linux_network,
	{ "classID",    1 },
	{ "priorities", 2, .sub = &type_net_priority });
static const struct oci_field resources_fields[] = {
	{ "devices",        1, .sub = &type_device_rule },
	{ "memory",         2, .sub = &type_memory },
	{ "cpu",            3, .sub = &type_cpu },
	{ "pids",           4, .sub = &type_pids },
	{ "blockIO",        5, .sub = &type_block_io },
	{ "hugepageLimits", 6, .sub = &type_hugepage },
	{ "network",        7, .sub = &type_network },
	{ "unified",        1000, F_MAP },
	REFUSED("rdma", "guests have no RDMA devices"),
};
const struct oci_type oci_type_resources = {
	&grpc__linux_resources__descriptor, resources_fields, ARRAY_LEN(resources_fields), NULL };
TYPE(seccomp_arg, linux_seccomp_arg,
	{ "index",    1, F_REQUIRED | F_KEEP | F_RANGE, .min = 0, .max = 5 },
	{ "value",    2, F_REQUIRED | F_KEEP },
	{ "valueTwo", 3 },
	{ "op",       4, F_REQUIRED | F_NONEMPTY, .choices = compare_ops });
TYPE(syscall, linux_syscall,
	{ "names",    1, F_REQUIRED | F_NONEMPTY },
	{ "action",   2, F_REQUIRED | F_NONEMPTY, .choices = actions },
	{ "errnoRet", 3 },
	{ "args",     4, .sub = &type_seccomp_arg });
static const struct oci_field seccomp_fields[] = {
	{ "defaultAction",   1, F_REQUIRED | F_NONEMPTY, .choices = actions },
	{ "defaultErrnoRet", 1000 },
	{ "architectures",   2, .choices = archs },
	{ "flags",           3, .choices = filter_flags },
	{ "syscalls",        4, .sub = &type_syscall },
	REFUSED("listenerPath", "a listener of the host cannot serve a guest's system calls"),
	REFUSED("listenerMetadata", "a listener of the host cannot serve a guest's system calls"),
};
const struct oci_type oci_type_seccomp = {
	&grpc__linux_seccomp__descriptor, seccomp_fields, ARRAY_LEN(seccomp_fields), NULL };
TYPE(intel_rdt, linux_intel_rdt,
	{ "l3CacheSchema", 1 },
	REFUSED("closID", "the guest does not control the host's cache"),
	REFUSED("memBwSchema", "the guest does not control the host's memory bandwidth"),
	REFUSED("schemata", "the guest does not control the host's cache"),
	REFUSED("enableCMT", "the guest cannot see the host's cache"),
	REFUSED("enableMBM", "the guest cannot see the host's memory bandwidth"),
	REFUSED("enableMonitoring", "the guest cannot see the host's cache"));
TYPE(time_offset, linux_time_offset,
	{ "secs",     1, F_KEEP },
	{ "nanosecs", 2, F_RANGE, .min = 0, .max = 999999999 });
TYPE(personality, linux_personality,
	{ "domain", 1, F_REQUIRED | F_NONEMPTY, .choices = domains },
	{ "flags",  2 });
static const struct oci_field linux_fields[] = {
	{ "uidMappings",       1, .sub = &type_id_mapping },
	{ "gidMappings",       2, .sub = &type_id_mapping },
	{ "sysctl",            3, F_MAP },
	{ "resources",         4, .sub = &oci_type_resources },
	{ "cgroupsPath",       5 },
	{ "namespaces",        6, F_UNIQUE, .sub = &type_namespace },
	{ "devices",           7, .sub = &type_device },
	{ "seccomp",           8, .sub = &oci_type_seccomp },
	{ "rootfsPropagation", 9, .choices = propagations },
	{ "maskedPaths",       10, F_ABSOLUTE },
	{ "readonlyPaths",     11, F_ABSOLUTE },
	{ "mountLabel",        12 },
	{ "intelRdt",          13, .sub = &type_intel_rdt },
	{ "timeOffsets",       1000, F_MAP, .sub = &type_time_offset },
	{ "personality",       1001, .sub = &type_personality },
	REFUSED("netDevices", "devices of the host cannot be moved into a guest"),
	REFUSED("memoryPolicy", "the guest does not see the host's memory nodes"),
};
static const struct oci_type type_linux = {
	&grpc__linux__descriptor, linux_fields, ARRAY_LEN(linux_fields), oci_check_linux };
const struct oci_type oci_type_process = {
	&grpc__process__descriptor, process_fields, ARRAY_LEN(process_fields), oci_check_process };
static const struct oci_field spec_fields[] = {
	{ "ociVersion",  1, F_REQUIRED | F_NONEMPTY },
	{ "process",     2, F_REQUIRED | F_NONEMPTY, .sub = &oci_type_process },
	{ "root",        3, F_REQUIRED | F_NONEMPTY, .sub = &type_root },
	{ "hostname",    4 },
	{ "domainname",  1000 },
	{ "mounts",      5, .sub = &type_mount },
	{ "hooks",       6, .sub = &type_hooks },
	{ "annotations", 7, F_MAP },
	{ "linux",       8, .sub = &type_linux },
	REFUSED("solaris", "only Linux containers are run"),
	REFUSED("windows", "only Linux containers are run"),
	REFUSED("freebsd", "only Linux containers are run"),
	REFUSED("zos", "only Linux containers are run"),
	REFUSED("vm", "the virtual machine is set up by the configuration file"),
};
const struct oci_type oci_type_spec = {
	&grpc__spec__descriptor, spec_fields, ARRAY_LEN(spec_fields), oci_check_spec };

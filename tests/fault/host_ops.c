/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations of the host's libraries on the way to a container: configuration, specification,
 * image store, run-time directory, helpers, monitor, network.
 */
#include "ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/args.h"
#include "cli/spec_build.h"
#include "cli/user_lookup.h"
#include "config/config.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/spawn.h"
#include "image/manifest.h"
#include "image/store.h"
#include "net/user_net.h"
#include "oci/guest_spec.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "sandbox.pb-c.h"
#include "sandbox/device_mounts.h"
#include "sandbox/internal.h"
#include "sandbox/rundir.h"
#include "sandbox/sandbox.h"
#include "sandbox/stream_log.h"
#include "shim/pod_files.h"
#include "wire/json.h"
#include "wire/qmp.h"
#include "wire/toml.h"

enum {
	CALL_MS = 2000
};

static char top[64], config_path[96], store_root[96], run_base[96], fake_passt[256];

static int check(bool ok, struct err *e, const char *what)
{
	return ok ? 0 : err_set(e, ERR_STATE, 0, "wrong result: %s", what);
}

/* ---- configuration and specification ---- */

static int op_toml(struct err *e)
{
	static const char text[] =
		"a = 'x'\n[b.c]\nd = [1, 2.5, \"\\u00e4\"]\n[[e]]\nf = {g = 1}\n";
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	struct toml_value *v;

	return toml_parse(text, sizeof(text) - 1, "t", &a, &v, e);
}

static int op_config(struct err *e)
{
	OWN(config) struct kata_config *c = NULL;

	if (config_load(config_path, &c, e) < 0)
		return -1;
	return check(c->hypervisor.default_memory == 321 && c->drop_ins == 1, e, "config");
}

static int op_config_text(struct err *e)
{
	OWN(buf) struct buf out = BUF_INIT;

	return config_write_default(&out, e) < 0 || config_write_manual(&out, e) < 0 ? -1 : 0;
}

static int op_config_shown(struct err *e)
{
	OWN(config) struct kata_config *c = NULL;
	OWN(jval) struct jval *shown = NULL;
	int64_t slots;

	if (config_new(&c, e) < 0 || config_show(c, &shown, e) < 0)
		return -1;
	return check(jval_int(jval_get(shown, "Hypervisor.MemorySlots"), &slots) && slots == 10,
		     e, "what is shown");
}

static const char spec_json[] =
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"hostname\":\"h\","
	"\"process\":{\"args\":[\"sh\",\"-c\",\"x\"],\"cwd\":\"/\",\"env\":[\"A=b\"],"
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1,\"soft\":1}]},"
	"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}],"
	"\"annotations\":{\"a\":\"b\"},"
	"\"linux\":{\"namespaces\":[{\"type\":\"mount\"}],\"resources\":{\"memory\":{\"limit\":9}},"
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdirat\","
	"\"none\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,\"op\":"
	"\"SCMP_CMP_EQ\"}]}]}}}";

static int op_spec(struct err *e)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf text = BUF_INIT;
	OWN(oci_notes) struct oci_notes notes = { 0 };
	Grpc__Spec *s, *again;

	if (spec_parse_noting(spec_json, sizeof(spec_json) - 1, &a, &notes, &s, e) < 0 ||
	    spec_print(s, &text, e) < 0 ||
	    spec_parse((const char *)buf_head(&text), buf_len(&text), &a, &again, e) < 0)
		return -1;
	return check(again->n_mounts == 1 && strcmp(again->process->args[2], "x") == 0, e,
		     "spec");
}

static int op_pod_files(struct err *e)
{
	Containerd__Sandbox__PodSandboxConfig p = CONTAINERD__SANDBOX__POD_SANDBOX_CONFIG__INIT;
	Containerd__Sandbox__DNSConfig d = CONTAINERD__SANDBOX__DNSCONFIG__INIT;
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	char *server = (char *)(uintptr_t) "10.96.0.10";
	OWN(fd) int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct pod_files f;

	d.servers = &server;
	d.n_servers = 1;
	p.dns_config = &d;
	if (etc < 0)
		return err_sys(e, "open /etc");
	if (pod_files_make(&p, "h", etc, &a, &f, e) < 0)
		return -1;
	return check(*f.hosts && str_eq(f.resolv_conf, "nameserver 10.96.0.10\n"), e,
		     "files of a pod");
}

/*
 * libseccomp makes good for some failures; the program must then be the one it always is, or
 * the container had another filter.
 */
static struct digest usual_program;

static int op_guest_spec(struct err *e)
{
	const struct guest_spec_options o = { .compile_seccomp = true };
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	struct digest none = { { 0 } }, program;
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct guest_spec g;
	Grpc__Spec *s;

	if (spec_parse(spec_json, sizeof(spec_json) - 1, &a, &s, e) < 0 ||
	    guest_spec_make(s, &o, &a, &notes, &g, e) < 0)
		return -1;
	digest_of(g.spec->linux->seccomp->program.data, g.spec->linux->seccomp->program.len,
		  &program);
	if (g.spec->linux->seccomp->program.len && digest_eq(&usual_program, &none))
		usual_program = program; /* the first time, when nothing fails */
	return check(digest_eq(&program, &usual_program), e, "another filter");
}

static int op_device_mount(struct err *e)
{
	char type[] = "bind", source[] = "/dev/null", destination[] = "/etc/x";
	struct container c = { .id = destination };
	Grpc__Mount m = GRPC__MOUNT__INIT;
	int rc;

	arena_init(&c.arena, 1 << 16);
	m.type = type;
	m.source = source;
	m.destination = destination;
	rc = device_mount_use(&c, &m, false, e);
	if (rc >= 0)
		rc = check(rc == 1 && c.device_count == 1 && str_eq(m.source, "c 1:3") &&
				   str_eq(c.devices[0]->vm_path, "null"),
			   e, "device mount");
	arena_fini(&c.arena);
	return rc;
}

static int op_spec_build(struct err *e)
{
	const char *env[] = { "PATH=/bin" }, *cmd[] = { "sh" };
	char *command[] = { NULL };
	struct image image = { .config = { .env = { env, 1 },
					   .cmd = { cmd, 1 },
					   .working_dir = "",
					   .user = "" } };
	OWN(arena) struct arena a = { .limit = 16 << 20 };
	OWN(strv) struct strv vars = { 0 }, volumes = { 0 };
	struct spec_request r = { .image = &image,
				  .id = "c",
				  .hostname = "h",
				  .env = &vars,
				  .volumes = &volumes,
				  .command = command,
				  .dir = top,
				  .terminal = true,
				  .memory_bytes = 1 << 20,
				  .cpu_millis = 500,
				  .own_files = true };
	struct exec_request x = { .env = &vars, .command = command };
	Grpc__Process *p;
	Grpc__Spec *s;

	if (strv_add(&vars, "B=c", e) < 0 || strv_addf(&volumes, e, "%s:/v:ro", top) < 0 ||
	    spec_build(&r, &a, &s, e) < 0)
		return -1;
	x.spec = s;
	if (spec_validate(s, e) < 0 || exec_build(&x, &a, &p, e) < 0)
		return -1;
	return check(p->n_env > 1, e, "exec");
}

static int op_args(struct err *e)
{
	static const struct arg_option options[] = {
		{ "list", 'l', ARG_LIST, 0, "ITEM", "a list" },
	};
	char words[][8] = { "-lone", "--list", "two", "rest" };
	char *argv[] = { words[0], words[1], words[2], words[3], NULL };
	struct strv list = { 0 };
	int first, rc = args_parse(4, argv, options, 1, &list, &first, e);

	if (rc == 0)
		rc = check(list.n == 2 && first == 3, e, "options");
	strv_fini(&list);
	return rc;
}

/* ---- images ---- */

static char layer_dir[160], image_hex[DIGEST_HEX_SIZE];
static const char image_config[] =
	"{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=b\"],\"Cmd\":"
	"[\"sh\"],\"Labels\":{\"x\":\"y\"}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":"
	"[\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]}}";

static int op_user(struct err *e)
{
	const char *layers[] = { layer_dir, NULL };
	struct image image = { .layers = { .v = layers, .n = 1 } };
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	struct user_ids ids;

	if (user_lookup(&image, "ann", &a, &ids, e) < 0 ||
	    check(ids.uid == 1000 && ids.group_count == 1, e, "user") < 0)
		return -1;
	return user_lookup(&image, "7:wheel", &a, &ids, e);
}

static int op_manifest(struct err *e)
{
	static const char docker[] = "[{\"Config\":\"c.json\",\"RepoTags\":[\"a:1\"],"
				     "\"Layers\":[\"l.tar\"]}]";
	OWN(arena) struct arena a = { .limit = MANIFEST_ARENA };
	struct docker_image *images;
	struct image_config c;
	size_t n;

	if (manifest_parse_docker(&a, docker, sizeof(docker) - 1, &images, &n, e) < 0)
		return -1;
	return manifest_parse_config(&a, image_config, sizeof(image_config) - 1, "c", &c, e);
}

static int count_image(void *arg, const struct image *image)
{
	*(int *)arg += (int)image->refs.n;
	return 0;
}

static int op_store(struct err *e)
{
	const struct store_config config = { .root = store_root };
	OWN(store) struct store *s = NULL;
	OWN(image) struct image *image = NULL;
	OWN(remove_result) struct remove_result gone = { .deleted = false };
	int refs = 0;

	if (store_open(&config, &s, e) < 0 || store_find(s, "box", &image, e) < 0 ||
	    check(image->layers.n == 1, e, "layers") < 0 ||
	    store_list(s, count_image, &refs, e) < 0 || check(refs == 1, e, "list") < 0 ||
	    store_lease(s, "c1", image->id, e) < 0 || store_unlease(s, "c1", e) < 0)
		return -1;
	if (store_remove(s, "none", false, &gone, e) == 0)
		return check(false, e, "an image that is none is removed");
	if (e->kind != ERR_NOT_FOUND)
		return -1;
	err_clear(e);
	return 0;
}

static int put(const char *dir, const char *name, const char *text, struct err *e)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return file_replace(AT_FDCWD, path, text, strlen(text), 0600, false, e);
}

/* A store as a load leaves it, made by hand: loading needs a helper process. */
static int prepare_store(struct err *e)
{
	const struct store_config config = { .root = store_root };
	OWN(store) struct store *s = NULL;
	struct digest id, diff, chain;
	char dir[256], hex[DIGEST_HEX_SIZE], text[256];

	digest_of(image_config, sizeof(image_config) - 1, &id);
	digest_hex(&id, image_hex);
	(void)memset(diff.b, 0xaa, sizeof(diff.b));
	digest_chain(NULL, &diff, &chain);
	digest_hex(&chain, hex);
	(void)snprintf(layer_dir, sizeof(layer_dir), "%s/layers/%.32s", store_root, hex);
	if (geteuid() == 0 && store_open(&config, &s, e) < 0)
		return -1;
	(void)snprintf(dir, sizeof(dir), "%s/images/%s", store_root, image_hex);
	(void)snprintf(text, sizeof(text), "%s/etc", layer_dir);
	if (path_mkdirs(dir, 0700, e) < 0 || path_mkdirs(text, 0755, e) < 0 ||
	    put(text, "passwd", "root:x:0:0::/:\nann:x:1000:1000::/home/ann:\n", e) < 0 ||
	    put(text, "group", "wheel:x:10:ann\n", e) < 0 ||
	    put(dir, "config.json", image_config, e) < 0 ||
	    put(dir, "record.json", "{\"loaded\":1}", e) < 0)
		return -1;
	(void)snprintf(text, sizeof(text), "{\"docker.io/library/box:latest\":\"%s\"}",
		       image_hex);
	(void)snprintf(dir, sizeof(dir), "%s/images", store_root);
	return put(dir, "refs.json", text, e);
}

/* ---- run-time directories, logs, consoles ---- */

static size_t entries_of(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir);
	return n;
}

static int op_rundir(struct err *e)
{
	const struct rundir_owner owner = { "default", "", "/bundle" };
	OWN(rundir) struct rundir r = RUNDIR_INIT;

	if (rundir_create(run_base, "c1", &owner, &r, e) < 0)
		return entries_of(run_base) > 3 ? check(false, e, "something is left") : -1;
	rundir_remove(&r);
	/* the removal itself may fail and say so: the next sweep does it */
	rundir_close(&r);
	(void)rundir_sweep(run_base);
	return 0;
}

static int op_stream_log(struct err *e)
{
	static const uint8_t text[] = "one\ntwo\n\nhalf";
	OWN(fd) int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	size_t taken;
	struct stream_log log = { .fd = fd, .max = UINT64_MAX };

	return stream_log_append(&log, "stdout", text, sizeof(text) - 1, &taken, e);
}

/* ---- what runs in fibers ---- */

struct scene {
	struct loop *loop;
	struct child_reaper reaper;
	int (*body)(struct scene *s, struct err *e);
	int peer, rc;
	struct err *e;
};

static void scene_fiber(void *arg)
{
	struct scene *s = arg;

	s->rc = s->body(s, s->e);
}

/* Until the other side of a scene has noticed its end. */
static void settle(void *arg)
{
	struct scene *s = arg;
	struct err ignored;

	while (s->peer >= 0)
		(void)fiber_sleep(s->loop, 1, &ignored);
}

static int play(int (*body)(struct scene *s, struct err *e), struct err *e)
{
	OWN(loop) struct loop *l = NULL;
	struct scene s = { .body = body, .e = e, .peer = -1 };
	struct err ignored;
	int rc;

	if (loop_new(&l, e) < 0)
		return -1;
	s.loop = l;
	if (child_reaper_init(&s.reaper, l, e) < 0)
		return -1;
	rc = fiber_main(l, scene_fiber, &s, e);
	(void)fiber_main(l, settle, &s, &ignored);
	child_reaper_fini(&s.reaper);
	return rc < 0 ? -1 : s.rc;
}

/* Answers commands until the connection ends; what it cannot do the client must notice. */
static void monitor(void *arg)
{
	struct scene *s = arg;
	char byte, text[64] = "{\"QMP\":{}}\n{\"event\":\"STOP\"}\n";
	struct err e;
	size_t got = 1;

	for (int id = 1; id < 3; id++) {
		if (send(s->peer, text, strlen(text), MSG_NOSIGNAL) < 0)
			break;
		do {
			if (fiber_read(s->loop, s->peer, &byte, 1, deadline_in(CALL_MS), &got,
				       &e) < 0)
				got = 0;
		} while (got && byte != '\n');
		if (!got)
			break;
		(void)snprintf(text, sizeof(text), "{\"return\":{\"n\":[%d]},\"id\":%d}\n", id,
			       id);
	}
	(void)send(s->peer, text, strlen(text), MSG_NOSIGNAL);
	fd_close(&s->peer);
}

static int qmp_body(struct scene *s, struct err *e)
{
	const struct qmp_callbacks cb = { .event = NULL };
	OWN(qmp) struct qmp *q = NULL;
	OWN(jval) struct jval *ret = NULL;
	OWN(jval) struct jval *args = NULL;
	int pair[2], nonblocking;
	int64_t n;

	if (fd_socketpair(pair, e) < 0)
		return -1;
	s->peer = pair[1];
	nonblocking = fd_set_nonblock(s->peer, true, e);
	if (nonblocking < 0 || fiber_spawn(s->loop, "monitor", monitor, s, NULL, e) < 0) {
		(void)close(pair[0]);
		fd_close(&s->peer);
		return -1;
	}
	if (qmp_new(s->loop, pair[0], &cb, &q, e) < 0)
		return -1;
	if (qmp_handshake(q, deadline_in(CALL_MS), e) < 0)
		return -1;
	args = jval_new_object();
	if (!args || jval_set_str(args, "a", "b", e) < 0)
		return err_oom(e, "arguments");
	if (qmp_execute(q, "query", TAKE(args), deadline_in(CALL_MS), &ret, e) < 0)
		return -1;
	return check(jval_int(jval_at(jval_get(ret, "n"), 0), &n) && n == 2, e, "reply");
}

static int op_qmp(struct err *e)
{
	return play(qmp_body, e);
}

static int spawn_body(struct scene *s, struct err *e)
{
	char words[][8] = { "/bin/sh", "-c", "exit 3" };
	char *argv[] = { words[0], words[1], words[2], NULL };
	struct spawn sp = SPAWN_INIT;
	struct child c = { .reaper = NULL };
	pid_t pid;

	sp.argv = argv;
	if (spawn_run(&sp, &pid, e) < 0)
		return -1;
	child_watch(&s->reaper, &c, pid, NULL);
	if (child_wait(&c, deadline_in(CALL_MS), e) < 0)
		return -1;
	return check(child_exit_code(c.status) == 3, e, "exit status");
}

static int op_spawn(struct err *e)
{
	return play(spawn_body, e);
}

static int user_net_body(struct scene *s, struct err *e)
{
	const struct user_net_port port = { .host_port = 8080, .guest_port = 80 };
	const struct user_net_config c = { .program = fake_passt,
					   .ports = &port,
					   .port_count = 1 };
	OWN(user_net) struct user_net *n = NULL;

	return user_net_start(s->loop, &s->reaper, &c, deadline_in(CALL_MS), &n, e);
}

static int op_user_net(struct err *e)
{
	return play(user_net_body, e);
}

const struct op host_ops[] = {
	{ "toml", op_toml, true, IO_NONE, false, false },
	{ "config", op_config, true, IO_SHORT, false, false },
	{ "config text", op_config_text, true, IO_NONE, false, false },
	{ "config shown", op_config_shown, true, IO_NONE, false, false },
	{ "spec", op_spec, true, IO_NONE, false, false },
	{ "guest spec", op_guest_spec, true, IO_NONE, false, true },
	{ "device mount", op_device_mount, true, IO_SHORT, false, false },
	{ "pod files", op_pod_files, true, IO_SHORT, false, false },
	{ "spec build", op_spec_build, true, IO_NONE, false, false },
	{ "options", op_args, true, IO_NONE, false, false },
	{ "user", op_user, true, IO_SHORT, false, false },
	{ "manifest", op_manifest, true, IO_NONE, false, false },
	{ "store", op_store, true, IO_SHORT, true, true },
	{ "rundir", op_rundir, true, IO_SHORT, false, true },
	{ "stream log", op_stream_log, true, IO_SHORT, false, false },
	{ "qmp", op_qmp, false, IO_WHOLE, false, false },
	{ "spawn", op_spawn, true, IO_WHOLE, false, false },
	{ "user net", op_user_net, false, IO_WHOLE, false, false },
};
const size_t host_op_count = ARRAY_LEN(host_ops);

int fake_passt_main(const char *option)
{
	enum {
		PASST_FD = 3,
		FRAME = 46 /* a length of 32 bits, and an ARP packet */
	};
	uint8_t frame[FRAME];
	struct err e;

	if (strcmp(option, "--version") == 0)
		return fd_write_all(STDOUT_FILENO, "passt 2023_01_01\n", 17, &e) < 0;
	if (fd_read_exact(PASST_FD, frame, sizeof(frame), &e) < 0)
		return 1;
	frame[4 + 21] = 2; /* the answer to what was asked */
	if (fd_write_all(PASST_FD, frame, sizeof(frame), &e) < 0)
		return 1;
	return fd_read_exact(PASST_FD, frame, 1, &e) < 0 ? 0 : 1;
}

int host_ops_prepare(const char *dir, struct err *e)
{
	char drop_ins[128];
	ssize_t n = readlink("/proc/self/exe", fake_passt, sizeof(fake_passt) - 1);

	(void)snprintf(top, sizeof(top), "%s", dir);
	(void)snprintf(config_path, sizeof(config_path), "%s/configuration.toml", dir);
	(void)snprintf(drop_ins, sizeof(drop_ins), "%s/config.d", dir);
	(void)snprintf(store_root, sizeof(store_root), "%s/store", dir);
	(void)snprintf(run_base, sizeof(run_base), "%s/run", dir);
	if (n < 0)
		return err_sys(e, "this program's name");
	if (put(dir, "configuration.toml", "[hypervisor.qemu]\ndefault_memory = 123\n", e) <
		    0 ||
	    path_mkdirs(drop_ins, 0755, e) < 0 ||
	    put(drop_ins, "10.toml", "[hypervisor.qemu]\ndefault_memory = 321\n", e) < 0)
		return -1;
	return prepare_store(e) < 0 || op_guest_spec(e) < 0 ? -1 : 0;
}

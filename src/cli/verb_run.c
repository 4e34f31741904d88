/* SPDX-License-Identifier: Apache-2.0 */
/* kata run: a container from an image, in the foreground or detached. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/container_dir.h"
#include "cli/engine_client.h"
#include "cli/signals.h"
#include "cli/spec_build.h"
#include "cli/start_warnings.h"
#include "config/paths.h"
#include "engine.pb-c.h"
#include "event/fiber.h"
#include "image/store.h"
#include "net/user_net.h"
#include "oci/spec.h"
#include "sandbox/rundir.h"
#include "task.pb-c.h"
#include "wire/json.h"

#define OPTIONS_URL "io.katacontainers.engine.v1.Options"

enum {
	LONG_LAYERS_MAX = 64,
	HOSTNAME_LEN = 12, /* of the one made of the id */
	HOSTNAME_MAX = 64, /* Linux: __NEW_UTS_LEN */
	STATUS_LOST = 255,
	RM_HOOK_TIMEOUT_S = 60
};

struct options {
	bool detach, rm, interactive, tty;
	const char *name, *workdir, *user, *memory, *cpus, *network, *hostname;
	struct strv env, volumes, ports;
};

#define OPT(n, letter, type, member, value, help)                                              \
	{                                                                                      \
		n, letter, type, offsetof(struct options, member), value, help                 \
	}
static const struct arg_option options[] = {
	/* clang-format off */
	OPT("detach", 'd', ARG_FLAG, detach, NULL, "run in the background and print the id"),
	OPT("rm", 0, ARG_FLAG, rm, NULL, "remove the container when it has ended"),
	OPT("interactive", 'i', ARG_FLAG, interactive, NULL, "pass standard input on"),
	OPT("tty", 't', ARG_FLAG, tty, NULL, "give it a terminal"),
	OPT("name", 0, ARG_STRING, name, "NAME", "name it"),
	OPT("env", 'e', ARG_LIST, env, "NAME[=VALUE]", "set a variable; without VALUE as it is, or is not, here"),
	OPT("volume", 'v', ARG_LIST, volumes, "SRC:DST[:ro]", "mount a file or directory of the host"),
	OPT("workdir", 'w', ARG_STRING, workdir, "DIR", "working directory"),
	OPT("user", 'u', ARG_STRING, user, "USER[:GROUP]", "user, by name or number"),
	OPT("hostname", 'h', ARG_STRING, hostname, "NAME", "host name"),
	OPT("memory", 'm', ARG_STRING, memory, "SIZE", "limit of memory, e.g. 512m"),
	OPT("cpus", 0, ARG_STRING, cpus, "N", "limit of processors, e.g. 1.5"),
	OPT("network", 0, ARG_STRING, network, "none|user", "network (user)"),
	OPT("publish", 'p', ARG_LIST, ports, "[IP:]HOST:GUEST[/udp]", "publish a port on the host"),
	/* clang-format on */
};

struct run {
	struct cli *cli;
	struct options o;
	struct arena arena;
	uint64_t memory_bytes, cpu_millis;
	struct user_net_port *ports;
	struct image *image;
	struct container_dir dir;
	char *const *command;
	const char *image_name;
	bool keep;
	struct signals signals;
	int attached_fd; /* held while we wait for its end */
};

/* ---- options ---- */

static int parse_cpus(const char *s, uint64_t *out, struct err *e)
{
	char *end;
	double n = strtod(s, &end);

	long host = sysconf(_SC_NPROCESSORS_ONLN);

	if (end == s || *end || (!(n >= 0.01) && n != 0) || n > (double)host)
		return err_set(e, ERR_INVALID, 0,
			       "--cpus '%.64s': must be a number from 0.01 to %ld, which is "
			       "what this host has",
			       s, host);
	*out = (uint64_t)llround(n * 1000);
	return 0;
}

/* Whether one of the ports before takes the same of the host. */
static bool is_published(const struct run *r, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (r->ports[k].host_port == r->ports[i].host_port &&
		    r->ports[k].proto == r->ports[i].proto)
			return true;
	}
	return false;
}

static int parse_ports(struct run *r, struct err *e)
{
	r->ports = arena_calloc(&r->arena, r->o.ports.n + 1, sizeof(*r->ports));
	if (!r->ports)
		return err_oom(e, "ports");
	for (size_t i = 0; i < r->o.ports.n; i++) {
		OWN(free) char *addr = NULL;

		if (user_net_parse_port(r->o.ports.v[i], &r->ports[i], &addr, e) < 0)
			return err_wrap(e, "--publish");
		r->ports[i].host_addr = arena_strdup(&r->arena, addr ? addr : "");
		if (!r->ports[i].host_addr)
			return err_oom(e, "ports");
		if (is_published(r, i))
			return err_set(e, ERR_INVALID, 0,
				       "--publish '%.80s': port %u of the host is published "
				       "already; passt takes one address for each, or all of "
				       "them where none is given",
				       r->o.ports.v[i], r->ports[i].host_port);
	}
	return 0;
}

/* It becomes a word of /etc/hosts. */
static int check_hostname(const char *name, struct err *e)
{
	size_t len = strlen(name);
	char quoted[128];

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)name[i] <= ' ' || name[i] == '#' || name[i] == 0x7f)
			return err_set(e, ERR_INVALID, 0,
				       "--hostname '%s': no blanks, '#' or control characters",
				       str_quote(name, len, quoted, sizeof(quoted)));
	}
	return len <= HOSTNAME_MAX
		       ? 0
		       : err_set(e, ERR_INVALID, 0, "--hostname '%.80s': at most %d bytes",
				 name, HOSTNAME_MAX);
}

/* As with docker: scripts give unset variables, and 0 is no limit. */
static const char *if_given(const char *option)
{
	return option && *option ? option : NULL;
}

static int check_options(struct run *r, struct err *e)
{
	struct options *o = &r->o;

	o->hostname = if_given(o->hostname);
	o->name = if_given(o->name);
	if (!o->network)
		o->network = "user";
	if (!str_eq(o->network, "user") && !str_eq(o->network, "none"))
		return err_set(e, ERR_INVALID, 0, "--network '%.64s': must be none or user",
			       o->network);
	if (o->ports.n && str_eq(o->network, "none"))
		return err_set(e, ERR_INVALID, 0, "--publish needs the network 'user'");
	if (o->detach && o->interactive && !o->tty)
		return err_set(
			e, ERR_INVALID, 0,
			"--detach and --interactive exclude each other: nobody would write");
	if (o->tty && !o->detach && o->interactive && !isatty(STDIN_FILENO))
		return err_set(e, ERR_INVALID, 0, "--tty: standard input is no terminal");
	if (o->memory && str_to_bytes(o->memory, "--memory", &r->memory_bytes, e) < 0)
		return -1;
	/* 0 is no limit, but a fraction of a byte is a limit */
	if (o->memory && strpbrk(o->memory, "123456789") && r->memory_bytes < 6 << 20)
		return err_set(e, ERR_INVALID, 0, "--memory '%s': at least 6m", o->memory);
	if (o->cpus && parse_cpus(o->cpus, &r->cpu_millis, e) < 0)
		return -1;
	if (o->hostname && check_hostname(o->hostname, e) < 0)
		return -1;
	if (o->name && path_check_id(o->name, 128, "--name", e) < 0)
		return -1;
	return env_check(&o->env, e) < 0 ? -1 : parse_ports(r, e);
}

/* ---- the bundle ---- */

static int write_in_dir(struct run *r, const char *name, const char *text, mode_t mode,
			struct err *e)
{
	OWN(free) char *path = container_dir_file(&r->dir, name);

	if (!path)
		return err_oom(e, "a path");
	return file_replace(AT_FDCWD, path, text, strlen(text), mode, false, e);
}

/* resolv.conf is the engine's: it knows the network's name servers. */
static int write_etc_files(struct run *r, const char *hostname, struct err *e)
{
	const char *own = str_eq(r->o.network, "user") ? user_net_address() : NULL;
	OWN(buf) struct buf b = BUF_INIT;

	/* a server on its own name's address is to be reached by published ports */
	if (buf_printf(&b, e,
		       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
		       "%s\t%s\n",
		       own ? own : "127.0.1.1", hostname) < 0)
		return -1;
	if (!buf_cstr(&b) || write_in_dir(r, "hosts", buf_cstr(&b), 0644, e) < 0)
		return -1;
	buf_clear(&b);
	if (buf_printf(&b, e, "%s\n", hostname) < 0 || !buf_cstr(&b))
		return -1;
	return write_in_dir(r, "hostname", buf_cstr(&b), 0644, e);
}

/*
 * `--rm`: its own removal as a hook behind its end. While somebody in the foreground waits for
 * the status, he removes it instead; he may leave before, or be killed.
 */
static int add_rm_hook(struct run *r, Grpc__Spec *s, struct err *e)
{
	Grpc__Hooks *hooks = arena_alloc(&r->arena, sizeof(*hooks));
	Grpc__Hook *hook = arena_alloc(&r->arena, sizeof(*hook));
	OWN(free) char *program = NULL;
	const char *args[7];

	if (paths_bin("kata", &program, e) < 0)
		return -1;
	if (!hooks || !hook)
		return err_oom(e, "a hook");
	grpc__hooks__init(hooks);
	grpc__hook__init(hook);
	hook->path = arena_strdup(&r->arena, program);
	args[0] = "kata";
	args[1] = "--root";
	args[2] = r->cli->root;
	args[3] = "rm";
	args[4] = "--ended";
	args[5] = r->dir.id;
	hook->args = arena_calloc(&r->arena, 7, sizeof(char *));
	hooks->poststop = arena_calloc(&r->arena, 1, sizeof(*hooks->poststop));
	if (!hook->path || !hook->args || !hooks->poststop)
		return err_oom(e, "a hook");
	for (size_t i = 0; i < 6; i++)
		hook->args[i] = (char *)(uintptr_t)args[i];
	hook->n_args = 6;
	hook->timeout = RM_HOOK_TIMEOUT_S;
	hooks->poststop[0] = hook;
	hooks->n_poststop = 1;
	s->hooks = hooks;
	return 0;
}

/* What can be left can be looked at later; what goes with its `kata run` has been seen there.
 */
static bool keeps_log(const struct run *r)
{
	return r->o.detach || !r->o.rm || (r->o.tty && r->o.interactive);
}

static int write_record(struct run *r, const Grpc__Spec *s, struct err *e)
{
	OWN(jval) struct jval *v = jval_new_object();
	struct jval *args = jval_new_array(), *ports = jval_new_array();
	char when[TIME_RFC3339_LEN];
	int rc = 0;

	time_rfc3339(time_wall_ns(), when);
	for (size_t i = 0; rc == 0 && i < s->process->n_args; i++)
		rc = jval_push(args, jval_new_str(s->process->args[i]), e);
	for (size_t i = 0; rc == 0 && i < r->o.ports.n; i++)
		rc = jval_push(ports, jval_new_str(r->o.ports.v[i]), e);
	if (jval_set(v, "args", args, e) < 0)
		rc = -1;
	if (jval_set(v, "ports", ports, e) < 0)
		rc = -1;
	if (rc < 0 || jval_set_str(v, "id", r->dir.id, e) < 0 ||
	    jval_set_str(v, "name", r->o.name ? r->o.name : "", e) < 0 ||
	    jval_set_str(v, "image", r->image_name, e) < 0 ||
	    jval_set_str(v, "image_id", r->image->id, e) < 0 ||
	    jval_set_str(v, "created", when, e) < 0 ||
	    jval_set_str(v, "network", r->o.network, e) < 0 ||
	    jval_set_str(v, "stop_signal", r->image->config.stop_signal, e) < 0 ||
	    jval_set_bool(v, "terminal", r->o.tty, e) < 0 ||
	    jval_set_bool(v, "rm", r->o.rm, e) < 0 ||
	    jval_set_bool(v, "log", keeps_log(r), e) < 0)
		return -1;
	return container_dir_write_record(&r->dir, v, e);
}

static int make_bundle(struct run *r, struct err *e)
{
	char short_id[HOSTNAME_LEN + 1] = { 0 };
	OWN(buf) struct buf json = BUF_INIT;
	struct spec_request q = {
		.image = r->image,
		.id = r->dir.id,
		.hostname = r->o.hostname ? r->o.hostname : short_id,
		.terminal = r->o.tty,
		.env = &r->o.env,
		.volumes = &r->o.volumes,
		.workdir = r->o.workdir,
		.user = r->o.user,
		.memory_bytes = r->memory_bytes,
		.cpu_millis = r->cpu_millis,
		.command = r->command,
		.own_files = true,
		.dir = r->dir.path,
	};
	Grpc__Spec *spec;

	memcpy(short_id, r->dir.id, HOSTNAME_LEN);
	if (write_etc_files(r, q.hostname, e) < 0 || spec_build(&q, &r->arena, &spec, e) < 0)
		return -1;
	if (r->o.rm && add_rm_hook(r, spec, e) < 0)
		return -1;
	if (spec_validate(spec, e) < 0 || spec_print(spec, &json, e) < 0 || !buf_cstr(&json))
		return -1;
	if (write_in_dir(r, "config.json", buf_cstr(&json), 0600, e) < 0)
		return -1;
	for (size_t i = 0; i < 2; i++) {
		OWN(free) char *path = container_dir_file(&r->dir, i ? "work" : "upper");

		if (!path || path_mkdirs(path, 0755, e) < 0)
			return -1;
	}
	return write_record(r, spec, e);
}

/* ---- the engine ---- */

/* A path as a value of overlayfs' options: its separators stand behind a backslash. */
static int add_escaped(struct buf *b, const char *path, struct err *e)
{
	for (; *path; path++) {
		if ((strchr(":,\\", *path) && buf_append(b, "\\", 1, e) < 0) ||
		    buf_append(b, path, 1, e) < 0)
			return -1;
	}
	return 0;
}

static char *overlay_option(struct run *r, const char *name, const char *dir)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	if (buf_printf(&b, &e, "%sdir=", name) < 0 || add_escaped(&b, r->dir.path, &e) < 0 ||
	    buf_printf(&b, &e, "/%s", dir) < 0 || !buf_cstr(&b))
		return NULL;
	return arena_strdup(&r->arena, buf_cstr(&b));
}

/*
 * A layer's path, or a short one that leads to it: so many long ones are more than mount(2)
 * takes, even without what they have in common.
 */
static const char *layer_path(struct run *r, size_t i)
{
	const char *layer = r->image->layers.v[i];
	char *link;

	if (r->image->layers.n <= LONG_LAYERS_MAX)
		return layer;
	link = arena_printf(&r->arena, "%s/layers/%zu", r->dir.path, i);
	return link && (symlink(layer, link) == 0 || errno == EEXIST) ? link : NULL;
}

/* overlayfs merges the roots of layers whatever they say. */
static bool hides_the_rest(const char *layer)
{
	char value;

	return getxattr(layer, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* lowerdir from top to bottom. */
static char *overlay_lower(struct run *r)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	if (r->image->layers.n > LONG_LAYERS_MAX) {
		OWN(free) char *dir = container_dir_file(&r->dir, "layers");

		if (!dir || path_mkdirs(dir, 0700, &e) < 0)
			return NULL;
	}
	if (buf_puts(&b, "lowerdir=", &e) < 0)
		return NULL;
	for (size_t i = r->image->layers.n; i > 0; i--) {
		const char *path = layer_path(r, i - 1);

		if (!path || (i < r->image->layers.n && buf_append(&b, ":", 1, &e) < 0) ||
		    add_escaped(&b, path, &e) < 0)
			return NULL;
		if (hides_the_rest(r->image->layers.v[i - 1]))
			break;
	}
	return buf_cstr(&b) ? arena_strdup(&r->arena, buf_cstr(&b)) : NULL;
}

/* Whether the path is the destination of one of -v, or below it. */
static bool is_replaced(const struct run *r, const char *volume)
{
	char path[PATH_MAX], dst[PATH_MAX];

	(void)snprintf(path, sizeof(path), "/%s", volume);
	path_clean(path);
	for (size_t i = 0; i < r->o.volumes.n; i++) {
		const char *at = strchr(r->o.volumes.v[i], ':');
		size_t n;

		at = at ? at + 1 : "";
		(void)snprintf(dst, sizeof(dst), "/%.*s", (int)strcspn(at, ":"), at);
		path_clean(dst);
		n = strlen(dst);
		if (str_starts(path, dst) && (path[n] == '/' || path[n] == '\0'))
			return true;
	}
	return false;
}

/* An image's volumes are the container's own, as all it writes; -v replaces them. */
static int add_directories(struct run *r, Katac__Options *o, struct err *e)
{
	const struct string_list *volumes = &r->image->config.volumes;

	o->directories = arena_calloc(&r->arena, volumes->n + 1, sizeof(*o->directories));
	if (!o->directories)
		return err_oom(e, "options");
	for (size_t i = 0; i < volumes->n; i++) {
		if (!is_replaced(r, volumes->v[i]))
			o->directories[o->n_directories++] = (char *)(uintptr_t)volumes->v[i];
	}
	return 0;
}

static int encode_options(struct run *r, Google__Protobuf__Any *any, struct err *e)
{
	Katac__Options o = KATAC__OPTIONS__INIT;
	Katac__PortMapping *maps = arena_calloc(&r->arena, r->o.ports.n + 1, sizeof(*maps));

	o.ports = arena_calloc(&r->arena, r->o.ports.n + 1, sizeof(*o.ports));
	o.status_path = arena_printf(&r->arena, "%s/status.json", r->dir.path);
	if (!maps || !o.ports || !o.status_path)
		return err_oom(e, "options");
	for (size_t i = 0; i < r->o.ports.n; i++) {
		katac__port_mapping__init(&maps[i]);
		maps[i].host_ip = (char *)(uintptr_t)r->ports[i].host_addr;
		maps[i].host_port = r->ports[i].host_port;
		maps[i].guest_port = r->ports[i].guest_port;
		maps[i].protocol =
			(char *)(uintptr_t)(r->ports[i].proto == USER_NET_UDP ? "udp" : "tcp");
		o.ports[o.n_ports++] = &maps[i];
	}
	o.config_path = (char *)(uintptr_t)(r->cli->config ? r->cli->config : "");
	o.network = (char *)(uintptr_t)r->o.network;
	o.self_ending = true;
	if (add_directories(r, &o, e) < 0)
		return -1;
	any->value.len = katac__options__get_packed_size(&o);
	any->value.data = arena_alloc(&r->arena, any->value.len);
	if (!any->value.data)
		return err_oom(e, "options");
	(void)katac__options__pack(&o, any->value.data);
	any->type_url = (char *)(uintptr_t)OPTIONS_URL;
	return 0;
}

static int create_task(struct run *r, struct engine_client *en, const char *in, const char *out,
		       const char *err_name, struct err *e)
{
	Containerd__Task__CreateTaskRequest req = CONTAINERD__TASK__CREATE_TASK_REQUEST__INIT;
	Containerd__Task__Mount mount = CONTAINERD__TASK__MOUNT__INIT;
	Containerd__Task__Mount *mounts[] = { &mount };
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	char *opts[3];

	opts[0] = overlay_lower(r);
	opts[1] = overlay_option(r, "upper", "upper");
	opts[2] = overlay_option(r, "work", "work");
	if (!opts[0] || !opts[1] || !opts[2])
		return err_oom(e, "a mount");
	mount.type = (char *)(uintptr_t) "overlay";
	mount.source = (char *)(uintptr_t) "overlay";
	mount.options = opts;
	mount.n_options = 3;
	if (encode_options(r, &any, e) < 0)
		return -1;
	req.id = r->dir.id;
	req.bundle = r->dir.path;
	req.rootfs = mounts;
	req.n_rootfs = 1;
	req.terminal = r->o.tty;
	req.stdin = (char *)(uintptr_t)in;
	req.stdout = (char *)(uintptr_t)out;
	req.stderr = (char *)(uintptr_t)err_name;
	req.options = &any;
	return engine_call(en, TASK_CREATE, &req, NULL, NULL, e);
}

static int start_task(struct run *r, struct engine_client *en, struct err *e)
{
	Containerd__Task__StartRequest req = CONTAINERD__TASK__START_REQUEST__INIT;

	req.id = r->dir.id;
	return engine_call(en, TASK_START, &req, NULL, NULL, e);
}

/* A container that could not be created or started leaves no engine. */
static void abandon(struct run *r, struct engine_client *en)
{
	Containerd__Task__ShutdownRequest req = CONTAINERD__TASK__SHUTDOWN_REQUEST__INIT;
	struct err e;

	req.id = r->dir.id;
	req.now = true;
	fiber_shield(r->cli->loop, true); /* it may be a signal that ends the start */
	(void)engine_call(en, TASK_SHUTDOWN, &req, NULL, NULL, &e);
	fiber_shield(r->cli->loop, false);
}

static int exit_code_of(const struct err *e)
{
	if (e->kind == ERR_NOT_FOUND)
		return EXIT_NO_PROGRAM;
	return e->kind == ERR_DENIED ? EXIT_CANNOT_EXECUTE : EXIT_OURS;
}

/* Says why and what a shell is to know: 126 and 127 are about the program. */
static int give_up(struct run *r, struct engine_client *en, struct err *e)
{
	if (!r->signals.ended_by) {
		if (engine_is_gone(en))
			(void)container_dir_blame(r->cli->loop, &r->dir, e);
		(void)fprintf(stderr, "kata: %s\n", e->msg);
	}
	abandon(r, en);
	return r->signals.ended_by ? 128 + r->signals.ended_by : exit_code_of(e);
}

static int create_and_start(struct run *r, struct engine_client *en, const char *in,
			    const char *out, const char *err_name, struct err *e)
{
	if (create_task(r, en, in, out, err_name, e) < 0)
		return -1;
	start_warnings_show(&r->dir);
	if (start_task(r, en, e) < 0)
		return -1;
	container_dir_mark_started(r->attached_fd);
	return r->signals.ended_by ? err_set(e, ERR_CANCELLED, 0, "ended by a signal") : 0;
}

/* What is left to itself is removed by its hook, unless that has been there already. */
static void leave(struct run *r)
{
	struct container_state st;
	struct err e;

	r->keep = true;
	fd_close(&r->attached_fd);
	if (r->o.rm && container_dir_state(r->cli->loop, &r->dir, &st, &e) == 0 &&
	    st.status == CONTAINER_EXITED)
		r->keep = false;
}

static int run_detached(struct run *r, struct engine_client *en, struct err *e)
{
	const char *log = arena_printf(&r->arena, "kata://?log=%s/output.log", r->dir.path);

	if (!log)
		return err_oom(e, "a name");
	if (create_and_start(r, en, "", log, r->o.tty ? "" : log, e) < 0)
		return give_up(r, en, e);
	leave(r);
	if ((printf("%s\n", r->dir.id) >= 0 && fflush(stdout) == 0) || errno == EPIPE)
		return 0;
	(void)err_sys(e, "container '%.12s' runs, but its id could not be written", r->dir.id);
	clearerr(stdout); /* that is said */
	return -1;
}

/* Until the engine has gone its directory is in use: wait for the end of its socket. */
static void wait_engine_end(struct run *r)
{
	int64_t deadline = deadline_in(15 * 1000);
	struct err e;

	while (deadline_left(deadline) > 0) {
		OWN(engine_client) struct engine_client *en = NULL;

		if (engine_connect(r->cli->loop, r->dir.id, &en, &e) < 0 &&
		    e.kind == ERR_NOT_FOUND)
			return;
		if (fiber_sleep(r->cli->loop, 10, &e) < 0)
			return;
	}
	log_warn(NULL, "the engine of '%.12s' takes long to end", r->dir.id);
}

/* 255 may be the program's own status; the engine recorded whether it is not. */
static int lost_or_own(struct run *r)
{
	char why[CONTAINER_WHY_MAX];

	fd_close(&r->attached_fd); /* as long as we hold it, it is being made */
	if (!container_dir_why_lost(r->cli->loop, &r->dir, why, sizeof(why)))
		return STATUS_LOST;
	(void)fprintf(stderr, "kata: %s\n", why);
	return EXIT_OURS;
}

/*
 * A container that ends at once may be gone, engine and all, before it is waited for: then its
 * end is on record. Returns -1 with *e as it was if it is not.
 */
static int recorded_status(struct run *r, uint32_t *status, struct err *e)
{
	struct container_state st;
	struct err ignored;

	if (e->kind != ERR_NOT_FOUND && e->kind != ERR_PEER)
		return -1;
	wait_engine_end(r);
	if (container_dir_state(r->cli->loop, &r->dir, &st, &ignored) < 0 ||
	    st.status != CONTAINER_EXITED)
		return -1;
	*status = (uint32_t)st.exit_status;
	return 0;
}

static int after_console(struct run *r, struct engine_client *en, enum console_end end,
			 uint32_t status)
{
	if (end == CONSOLE_DETACHED) {
		leave(r);
		return 0;
	}
	if (end == CONSOLE_BROKEN && r->o.rm)
		abandon(r, en); /* in case its end has not been seen */
	if (end == CONSOLE_ENDED) {
		wait_engine_end(r); /* so that `kata rm` finds it ended */
		if (status == STATUS_LOST)
			return lost_or_own(r);
	}
	return (int)status;
}

static int run_foreground(struct run *r, struct engine_client *en, struct err *e)
{
	OWN(free) char *log = keeps_log(r) ? container_dir_file(&r->dir, "output.log") : NULL;
	struct console_config cc = {
		.interactive = r->o.interactive,
		.terminal = r->o.tty,
		.dir = r->dir.path,
		.tag = "",
		.log = log,
		.signals = &r->signals,
		.outlives = !r->o.rm,
	};
	OWN(console) struct console *c = NULL;
	enum console_end end = CONSOLE_ENDED;
	uint32_t status = 0;

	if (console_open(r->cli->loop, &cc, &c, e) < 0)
		return -1;
	if (create_and_start(r, en, console_stdin_name(c), console_stdout_name(c),
			     console_stderr_name(c), e) < 0)
		return give_up(r, en, e);
	r->keep = !r->o.rm; /* it has run: what it wrote stays, whatever happens */
	if (console_run(c, en, r->dir.id, "", &status, &end, e) < 0 &&
	    recorded_status(r, &status, e) < 0) {
		abandon(r, en);
		return container_dir_blame(r->cli->loop, &r->dir, e);
	}
	return after_console(r, en, end, status);
}

/* The engine's start is short: a signal meanwhile counts afterwards, so that no engine is lost.
 */
static int start_engine(struct run *r, struct engine_client **out, struct err *e)
{
	int rc;

	fiber_shield(r->cli->loop, true);
	rc = engine_start(r->cli->loop, r->dir.path, r->dir.id, r->cli->debug, out, e);
	fiber_shield(r->cli->loop, false);
	return rc;
}

static int run_container(struct run *r, struct err *e)
{
	OWN(engine_client) struct engine_client *en = NULL;

	if (make_bundle(r, e) < 0)
		return -1;
	if (start_engine(r, &en, e) < 0)
		return -1;
	return r->o.detach ? run_detached(r, en, e) : run_foreground(r, en, e);
}

/* Nothing of a container stays that was never started, or is to be removed. */
static void clean_up(struct run *r)
{
	OWN(store) struct store *st = NULL;
	struct err ignored;

	fiber_shield(r->cli->loop, true);
	wait_engine_end(r);
	/* the lease first: of one without its container nobody would know */
	if (cli_open_store(r->cli, &st, &ignored) < 0 ||
	    store_unlease(st, r->dir.id, &ignored) < 0 ||
	    container_dir_remove(&r->dir, &ignored) < 0)
		log_warn(NULL, "%s", ignored.msg);
	fiber_shield(r->cli->loop, false);
}

/* Whether it has an engine, or one has been killed and its rests are still there. */
static bool has_engine(const char *id)
{
	OWN(free) char *path = str_printf(RUNDIR_BASE "/%s", id);

	return !path || access(path, F_OK) == 0;
}

struct abandoned {
	struct store *store;
	bool swept; /* what killed engines have left */
};

/* Whether nobody will want to see it: one of --rm, or one that was never made. */
static bool is_passing(const struct container_dir *d)
{
	OWN(jval) struct jval *record = NULL;
	struct err e;
	bool rm = false;

	if (container_dir_record(d, &record, &e) < 0)
		return e.kind == ERR_NOT_FOUND;
	return jval_bool(jval_get(record, "rm"), &rm) && rm;
}

/*
 * A container of --rm is removed by its `kata run`, or by its engine's last hook: where neither
 * did, the next one does it. In this order each answer stays true: whoever has a record has
 * attached, and who has let go has an engine. The lock is taken last, since that hook leaves
 * the removal to whoever has it.
 */
static int remove_abandoned(struct container_dir *d, void *arg)
{
	struct abandoned *a = arg;
	OWN(fd) int lock = -1;
	struct err e;

	if (!is_passing(d) || container_dir_is_attached(d))
		return 0;
	if (has_engine(d->id) && !a->swept) {
		a->swept = true;
		(void)rundir_sweep(RUNDIR_BASE);
	}
	if (has_engine(d->id) || !container_dir_claim(d, &lock))
		return 0;
	if (store_unlease(a->store, d->id, &e) < 0 || container_dir_remove(d, &e) < 0)
		log_warn(NULL, "container '%.12s' stays: %s", d->id, e.msg);
	return 0;
}

/* What has gone in part uses no image. */
static void end_lease(const char *id, void *arg)
{
	struct abandoned *a = arg;
	struct err e;

	if (store_unlease(a->store, id, &e) < 0)
		log_warn(NULL, "container '%.12s': %s", id, e.msg);
}

static int with_store(struct run *r, struct err *e)
{
	struct abandoned others = { .swept = false };
	OWN(store) struct store *st = NULL;
	struct err ignored;
	int rc;

	if (cli_open_store(r->cli, &st, e) < 0 ||
	    store_find(st, r->image_name, &r->image, e) < 0)
		return -1;
	if (r->image->layers.n == 0)
		return err_set(e, ERR_INVALID, 0,
			       "image '%.80s' has no layers: there is nothing in it to run",
			       r->image_name);
	others.store = st;
	container_dir_sweep(r->cli->root, end_lease, &others);
	(void)container_dir_each(r->cli->root, remove_abandoned, &others, &ignored);
	/* from here on there is something to put away */
	if (signals_watch(&r->signals, r->cli->loop, e) < 0 ||
	    container_dir_create(r->cli->root, r->o.name, &r->dir, &r->attached_fd, e) < 0)
		return -1;
	rc = store_lease(st, r->dir.id, r->image->id, e);
	store_close(TAKE(st)); /* nothing of the store is held while the container runs */
	if (rc == 0)
		rc = run_container(r, e);
	if (!r->keep)
		clean_up(r);
	fd_close(&r->attached_fd);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *e)
{
	struct run r = { .cli = cli, .attached_fd = -1 };
	int first, rc = -1;

	arena_init(&r.arena, 64 << 20);
	if (verb_parse(&verb_run, argc, argv, &r.o, &first, 1, -1, e) == 0 &&
	    args_check_text(argc, argv, e) == 0 && check_options(&r, e) == 0) {
		r.image_name = argv[first];
		r.command = argv + first + 1;
		rc = with_store(&r, e);
	}
	signals_fini(&r.signals);
	image_free(r.image);
	container_dir_fini(&r.dir);
	strv_fini(&r.o.env);
	strv_fini(&r.o.volumes);
	strv_fini(&r.o.ports);
	arena_fini(&r.arena);
	return rc;
}

const struct verb verb_run = {
	.name = "run",
	.usage = "[options] IMAGE [COMMAND [ARGUMENT …]]",
	.help = "run a command in a new container in its own virtual machine",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.takes_command = true,
	.run = run,
};

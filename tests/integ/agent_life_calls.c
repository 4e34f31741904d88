/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to an agent and specifications for it. */
#include "agent_life.h"

/* ---- calls ---- */

int call(struct test *t, const char *service, const char *method,
	 const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response, void *out)
{
	struct ttrpc_method m = {
		.name = method,
		.request = request->descriptor,
		.response = response,
	};

	err_clear(&t->e);
	return ttrpc_call(t->conn, service, &m, request, CALL_MS, out ? &t->arena : NULL, out,
			  &t->e);
}

int simple(struct test *t, const char *method, const void *request)
{
	return call(t, AGENT, method, request, &EMPTY, NULL);
}

/* ---- specifications ---- */

char *dup_str(struct test *t, const char *s)
{
	char *p = arena_strdup(&t->arena, s);

	BUG_ON(!p);
	return p;
}

void *new_message(struct test *t, const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = message_new(d, &t->arena);

	BUG_ON(!m);
	return m;
}

void add_str(struct test *t, char ***list, size_t *n, const char *s)
{
	char **grown = arena_calloc(&t->arena, *n + 1, sizeof(char *));

	BUG_ON(!grown);
	if (*n)
		memcpy(grown, *list, *n * sizeof(char *));
	grown[(*n)++] = dup_str(t, s);
	*list = grown;
}

void add_ptr(struct test *t, void *list_ptr, size_t *n, void *p)
{
	void **old = *(void ***)list_ptr;
	void **grown = arena_calloc(&t->arena, *n + 1, sizeof(void *));

	BUG_ON(!grown);
	if (*n)
		memcpy(grown, old, *n * sizeof(void *));
	grown[(*n)++] = p;
	*(void ***)list_ptr = grown;
}

void add_mount(struct test *t, Grpc__Spec *s, const char *dst, const char *type,
	       const char *src, const char *options)
{
	Grpc__Mount *m = new_message(t, &grpc__mount__descriptor);
	char *copy = dup_str(t, options), *save = NULL;

	m->destination = dup_str(t, dst);
	m->type = dup_str(t, type);
	m->source = dup_str(t, src);
	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save))
		add_str(t, &m->options, &m->n_options, o);
	add_ptr(t, &s->mounts, &s->n_mounts, m);
}

void add_ns(struct test *t, Grpc__Linux *lx, const char *type)
{
	Grpc__LinuxNamespace *n = new_message(t, &grpc__linux_namespace__descriptor);

	n->type = dup_str(t, type);
	add_ptr(t, &lx->namespaces, &lx->n_namespaces, n);
}

static const char *const default_caps[] = { "CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE",
					    "CAP_SETUID", "CAP_SETGID" };

Grpc__Process *make_process(struct test *t, const char *const *args)
{
	Grpc__Process *p = new_message(t, &grpc__process__descriptor);
	Grpc__LinuxCapabilities *c = new_message(t, &grpc__linux_capabilities__descriptor);

	for (size_t i = 0; args[i]; i++)
		add_str(t, &p->args, &p->n_args, args[i]);
	add_str(t, &p->env, &p->n_env, "PATH=/bin:/sbin");
	p->cwd = dup_str(t, "/");
	p->user = new_message(t, &grpc__user__descriptor);
	for (size_t i = 0; i < ARRAY_LEN(default_caps); i++) {
		add_str(t, &c->bounding, &c->n_bounding, default_caps[i]);
		add_str(t, &c->effective, &c->n_effective, default_caps[i]);
		add_str(t, &c->permitted, &c->n_permitted, default_caps[i]);
	}
	p->capabilities = c;
	return p;
}

/* A request with a runtime's usual default specification. */
Grpc__CreateContainerRequest *make_container(struct test *t, const char *const *args)
{
	static const char *const ns[] = { "pid", "mount", "ipc", "uts", "cgroup" };
	Grpc__CreateContainerRequest *r =
		new_message(t, &grpc__create_container_request__descriptor);
	Grpc__Spec *s = new_message(t, &grpc__spec__descriptor);
	char id[32];

	(void)snprintf(id, sizeof(id), "life-%u", ++t->serial);
	r->container_id = dup_str(t, id);
	r->exec_id = r->container_id;
	r->oci = s;
	s->version = dup_str(t, "1.0.2");
	s->process = make_process(t, args);
	s->root = new_message(t, &grpc__root__descriptor);
	s->root->path = dup_str(t, t->rootfs);
	s->linux = new_message(t, &grpc__linux__descriptor);
	for (size_t i = 0; i < ARRAY_LEN(ns); i++)
		add_ns(t, s->linux, ns[i]);
	add_mount(t, s, "/proc", "proc", "proc", "nosuid,noexec,nodev");
	add_mount(t, s, "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k");
	add_mount(t, s, "/dev/pts", "devpts", "devpts",
		  "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
	add_mount(t, s, "/dev/shm", "tmpfs", "shm",
		  "nosuid,noexec,nodev,mode=1777,size=65536k");
	add_mount(t, s, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
	add_mount(t, s, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
	add_mount(t, s, "/sys/fs/cgroup", "cgroup", "cgroup",
		  "nosuid,noexec,nodev,relatime,ro");
	add_mount(t, s, "/tmp", "tmpfs", "tmpfs", "nosuid,nodev,mode=1777");
	return r;
}

/* ---- lives ---- */

int create(struct test *t, const Grpc__CreateContainerRequest *r)
{
	return simple(t, "CreateContainer", r);
}

int start(struct test *t, const char *id)
{
	Grpc__StartContainerRequest r = GRPC__START_CONTAINER_REQUEST__INIT;

	r.container_id = (char *)(uintptr_t)id;
	return simple(t, "StartContainer", &r);
}

int wait_for(struct test *t, const char *id, const char *exec_id)
{
	Grpc__WaitProcessRequest r = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__WaitProcessResponse *resp;

	r.container_id = (char *)(uintptr_t)id;
	r.exec_id = (char *)(uintptr_t)exec_id;
	if (call(t, AGENT, "WaitProcess", &r.base, &grpc__wait_process_response__descriptor,
		 &resp) < 0)
		return -1;
	return resp->status;
}

int kill_process(struct test *t, const char *id, const char *exec_id, int sig)
{
	Grpc__SignalProcessRequest r = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	r.container_id = (char *)(uintptr_t)id;
	r.exec_id = (char *)(uintptr_t)exec_id;
	r.signal = (uint32_t)sig;
	return simple(t, "SignalProcess", &r);
}

int remove_container(struct test *t, const char *id)
{
	Grpc__RemoveContainerRequest r = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	r.container_id = (char *)(uintptr_t)id;
	r.timeout = 20;
	return simple(t, "RemoveContainer", &r);
}

/* One read; the number of bytes, 0 at the end, -1 on an error. Data in the buffer's arena. */
ssize_t read_stream(struct test *t, const char *id, const char *exec_id, bool is_err,
		    uint32_t max, struct arena *a, uint8_t **out)
{
	Grpc__ReadStreamRequest r = GRPC__READ_STREAM_REQUEST__INIT;
	struct ttrpc_method m = {
		.name = is_err ? "ReadStderr" : "ReadStdout",
		.request = r.base.descriptor,
		.response = &grpc__read_stream_response__descriptor,
	};
	Grpc__ReadStreamResponse *resp;

	r.container_id = (char *)(uintptr_t)id;
	r.exec_id = (char *)(uintptr_t)exec_id;
	r.len = max;
	err_clear(&t->e);
	if (ttrpc_call(t->conn, AGENT, &m, &r, CALL_MS, a, &resp, &t->e) < 0)
		return -1;
	*out = resp->data.data;
	return (ssize_t)resp->data.len;
}

/* Everything until the end of the stream, as a string in the test's arena. */
const char *read_all(struct test *t, const char *id, const char *exec_id, bool is_err)
{
	OWN(buf) struct buf all = { .limit = 4 * MIB };

	for (;;) {
		OWN(arena) struct arena a = { .limit = 8 * MIB };
		uint8_t *p;
		ssize_t n = read_stream(t, id, exec_id, is_err, 4096, &a, &p);

		if (n < 0) {
			printf("# read: %s\n", t->e.msg);
			t->current_failed = true;
		}
		if (n <= 0)
			break;
		BUG_ON(buf_append(&all, p, (size_t)n, &t->e) < 0);
	}
	return dup_str(t, buf_cstr(&all));
}

int write_stdin(struct test *t, const char *id, const char *exec_id, const void *p, size_t n)
{
	Grpc__WriteStreamRequest r = GRPC__WRITE_STREAM_REQUEST__INIT;

	r.container_id = (char *)(uintptr_t)id;
	r.exec_id = (char *)(uintptr_t)exec_id;
	r.data.data = (uint8_t *)(uintptr_t)p;
	r.data.len = n;
	return call(t, AGENT, "WriteStdin", &r.base, &grpc__write_stream_response__descriptor,
		    NULL);
}

int close_stdin(struct test *t, const char *id, const char *exec_id)
{
	Grpc__CloseStdinRequest r = GRPC__CLOSE_STDIN_REQUEST__INIT;

	r.container_id = (char *)(uintptr_t)id;
	r.exec_id = (char *)(uintptr_t)exec_id;
	return simple(t, "CloseStdin", &r);
}

int exec_process(struct test *t, const char *id, const char *exec_id, Grpc__Process *p)
{
	Grpc__ExecProcessRequest r = GRPC__EXEC_PROCESS_REQUEST__INIT;

	r.container_id = (char *)(uintptr_t)id;
	r.exec_id = (char *)(uintptr_t)exec_id;
	r.process = p;
	return simple(t, "ExecProcess", &r);
}

/* Creates, starts, reads both streams, waits, removes. The exit status, or -1. */
int run_request(struct test *t, const Grpc__CreateContainerRequest *r, const char **out,
		const char **err_out)
{
	int status;

	*out = *err_out = "";
	if (create(t, r) < 0) {
		printf("# create: %s\n", t->e.msg);
		return -1;
	}
	if (start(t, r->container_id) < 0) {
		printf("# start: %s\n", t->e.msg);
		return -1;
	}
	(void)close_stdin(t, r->container_id, "");
	*out = read_all(t, r->container_id, "", false);
	*err_out = read_all(t, r->container_id, "", true);
	status = wait_for(t, r->container_id, "");
	if (remove_container(t, r->container_id) < 0) {
		printf("# remove: %s\n", t->e.msg);
		return -1;
	}
	return status;
}

int run_shell(struct test *t, const char *script, const char **out)
{
	const char *err_text;
	int status =
		run_request(t, make_container(t, ARGS("sh", "-c", script)), out, &err_text);

	if (*err_text)
		printf("# stderr: %s\n", err_text);
	return status;
}

Grpc__CreateContainerRequest *running_shell(struct test *t, const char *script)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("sh", "-c", script));

	if (create(t, r) < 0 || start(t, r->container_id) < 0) {
		printf("# %s\n", t->e.msg);
		t->current_failed = true;
	}
	return r;
}

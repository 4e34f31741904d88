/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's own affairs. */
#include "agent/guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent/file_cache.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "build_config.h"
#include "wire/message.h"
#include "wire/ttrpc.h"

#define MEMORY_DIR "/sys/devices/system/memory"
#define CPU_DIR    "/sys/devices/system/cpu"
#define SHARED_DIR "/run/kata-containers/shared/containers"

enum {
	ONLINE_POLL_MS = 10
};

static const char *const extra_features[] = { "kata-c.spec.1",    "kata-c.processes.1",
					      "kata-c.forward.1", "kata-c.parts.1",
					      "kata-c.sysctls.1", "kata-c.pidns.1" };

/* ---- details ---- */

static char **strings(struct arena *a, size_t n, const char *(*get)(size_t i))
{
	char **v = arena_calloc(a, n, sizeof(char *));

	for (size_t i = 0; v && i < n; i++) {
		v[i] = arena_strdup(a, get(i));
		if (!v[i])
			return NULL;
	}
	return v;
}

static const char *feature_name(size_t i)
{
	return extra_features[i];
}

int guest_details(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__GuestDetailsRequest *r = request;
	Grpc__GuestDetailsResponse *out = response;
	struct sandbox *s = call->context;
	Grpc__AgentDetails *d = (Grpc__AgentDetails *)message_new(
		&grpc__agent_details__descriptor, call->arena);
	char text[32];
	struct err ignored;

	if (!d)
		return err_oom(e, "details");
	d->version = arena_strdup(call->arena, KATA_VERSION);
	d->init_daemon = s->config.boot;
	d->n_storage_handlers = storage_driver_count();
	d->storage_handlers = strings(call->arena, d->n_storage_handlers, storage_driver_name);
	d->supports_seccomp = true;
	d->n_extra_features = ARRAY_LEN(extra_features);
	d->extra_features = strings(call->arena, d->n_extra_features, feature_name);
	if (!d->version || !d->storage_handlers || !d->extra_features)
		return err_oom(e, "details");
	out->agent_details = d;
	if (r->mem_block_size && file_read_line(AT_FDCWD, MEMORY_DIR "/block_size_bytes", text,
						sizeof(text), &ignored) == 0)
		out->mem_block_size_bytes = strtoull(text, NULL, 16);
	if (r->mem_hotplug_probe)
		out->support_mem_hotplug_probe = access(MEMORY_DIR "/probe", F_OK) == 0;
	return 0;
}

/* ---- randomness and clock ---- */

int guest_reseed(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__ReseedRandomDevRequest *r = request;
	OWN(fd) int fd = open("/dev/random", O_RDWR | O_CLOEXEC);
	struct rand_pool_info *pool;

	(void)response;
	if (fd < 0)
		return err_sys(e, "open /dev/random");
	if (r->data.len == 0 || r->data.len > 4096)
		return err_set(e, ERR_INVALID, 0, "data: %zu bytes, must be 1 to 4096",
			       r->data.len);
	pool = arena_alloc(call->arena, sizeof(*pool) + r->data.len);
	if (!pool)
		return err_oom(e, "the seed");
	pool->entropy_count = (int)r->data.len * 8;
	pool->buf_size = (int)r->data.len;
	memcpy(pool->buf, r->data.data, r->data.len);
	if (ioctl(fd, RNDADDENTROPY, pool) < 0)
		return err_sys(e, "add entropy");
	if (ioctl(fd, RNDRESEEDCRNG) < 0)
		return err_sys(e, "reseed the random generator");
	return 0;
}

int guest_set_time(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__SetGuestDateTimeRequest *r = request;
	struct timeval tv = { .tv_sec = r->sec, .tv_usec = (suseconds_t)r->usec };

	(void)call;
	(void)response;
	if (r->usec < 0 || r->usec >= 1000000)
		return err_set(e, ERR_INVALID, 0, "Usec %lld", (long long)r->usec);
	if (settimeofday(&tv, NULL) < 0)
		return err_sys(e, "set the clock");
	return 0;
}

/* ---- CPUs and memory ---- */

/* Puts what is off-line below `dir` on-line, at most `most`; returns how many. */
static unsigned online_below(const char *dir, const char *prefix, unsigned most)
{
	char path[160], state[16];
	struct dirent *ent;
	unsigned done = 0;
	struct err ignored;
	DIR *d = opendir(dir);

	while (d && done < most && (ent = readdir(d))) {
		const char *number = ent->d_name + strlen(prefix);

		if (!str_starts(ent->d_name, prefix) || !*number ||
		    strspn(number, "0123456789") != strlen(number))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%.40s/online", dir, ent->d_name);
		if (file_read_line(AT_FDCWD, path, state, sizeof(state), &ignored) < 0 ||
		    !str_eq(state, "0"))
			continue;
		if (file_write_value(AT_FDCWD, path, "1", &ignored) == 0)
			done++;
		else
			log_warn(NULL, "%s", ignored.msg);
	}
	if (d)
		(void)closedir(d);
	return done;
}

int guest_online(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__OnlineCPUMemRequest *r = request;
	struct sandbox *s = call->context;
	int64_t deadline = deadline_in(s->config.hotplug_timeout_ms);
	unsigned want = r->nb_cpus ? r->nb_cpus : ~0U, done;

	(void)response;
	done = online_below(CPU_DIR, "cpu", want);
	file_cache_processors(s); /* also of those that came, where others do not */
	while (r->wait && r->nb_cpus && done < want) {
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "%u of %u CPUs came on-line within %lld s "
				       "(agent.hotplug_timeout)",
				       done, want,
				       (long long)s->config.hotplug_timeout_ms / 1000);
		if (fiber_sleep(s->loop, ONLINE_POLL_MS, e) < 0)
			return -1;
		done += online_below(CPU_DIR, "cpu", want - done);
		file_cache_processors(s);
	}
	if (!r->cpu_only)
		(void)online_below(MEMORY_DIR, "memory", ~0U);
	return 0;
}

/* ---- volumes ---- */

static Grpc__VolumeUsage *usage(struct arena *a, Grpc__VolumeUnit unit, uint64_t total,
				uint64_t available, uint64_t used)
{
	Grpc__VolumeUsage *u =
		(Grpc__VolumeUsage *)message_new(&grpc__volume_usage__descriptor, a);

	if (u) {
		u->unit = unit;
		u->total = total;
		u->available = available;
		u->used = used;
	}
	return u;
}

int guest_volume_stats(struct ttrpc_call *call, const void *request, void *response,
		       struct err *e)
{
	const Grpc__VolumeStatsRequest *r = request;
	Grpc__VolumeStatsResponse *out = response;
	struct statvfs v;

	if (statvfs(r->volume_guest_path, &v) < 0)
		return err_sys(e, "volume '%.100s'", r->volume_guest_path);
	out->usage = arena_calloc(call->arena, 2, sizeof(*out->usage));
	out->volume_condition = (Grpc__VolumeCondition *)message_new(
		&grpc__volume_condition__descriptor, call->arena);
	if (!out->usage || !out->volume_condition)
		return err_oom(e, "volume statistics");
	out->usage[0] = usage(call->arena, GRPC__VOLUME_UNIT__BYTES, v.f_blocks * v.f_frsize,
			      v.f_bavail * v.f_frsize, (v.f_blocks - v.f_bfree) * v.f_frsize);
	out->usage[1] = usage(call->arena, GRPC__VOLUME_UNIT__INODES, v.f_files, v.f_favail,
			      v.f_files - v.f_ffree);
	if (!out->usage[0] || !out->usage[1])
		return err_oom(e, "volume statistics");
	out->n_usage = 2;
	return 0;
}

/* Looking at each mount makes the file server notice what has vanished and let go of it. */
int guest_remove_stale_mounts(struct ttrpc_call *call, const void *request, void *response,
			      struct err *e)
{
	char line[4096], target[1024];
	FILE *f = fopen("/proc/self/mounts", "re");
	struct stat st;

	(void)call;
	(void)request;
	(void)response;
	if (!f)
		return err_sys(e, "/proc/self/mounts");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %1023s", target) == 1 &&
		    str_starts(target, SHARED_DIR "/"))
			(void)stat(target, &st);
	}
	(void)fclose(f);
	return 0;
}

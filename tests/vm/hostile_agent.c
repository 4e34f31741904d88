/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of a guest whose agent is the host's enemy. It answers every call with nothing, as an
 * agent would that has done all that was asked, until the call that the kernel's command line
 * names comes; then it does what that line says: hostile=MODE@METHOD. A container's output is
 * "hello", its exit status 0 after a second. No part of the product: it checks nothing.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	HEADER = 10,
	REQUEST = 1,
	RESPONSE = 2,
	MAX_DATA = 4 << 20,
	VSOCK_PORT = 1024,
	RUN_MS = 1000
};

struct agent {
	int port;
	char mode[32], method[32];
	bool done; /* what is done once has been done */
	uint32_t wait_stream;
	int64_t exit_at;
	unsigned stdout_reads;
	uint8_t in[HEADER + MAX_DATA], out[HEADER + MAX_DATA];
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void load_modules(void)
{
	FILE *list = fopen("/lib/modules/load", "re");
	char line[256], file[128], path[160];

	while (list && fgets(line, sizeof(line), list)) {
		if (sscanf(line, "boot %127s", file) != 1)
			continue;
		(void)snprintf(path, sizeof(path), "/lib/modules/%s", file);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			(void)syscall(SYS_finit_module, fd, "", 0);
			(void)close(fd);
		}
	}
	if (list)
		(void)fclose(list);
}

/* The serial port with this name, waiting for it. */
static int open_port(const char *want)
{
	char path[300], name[64];

	for (;;) {
		DIR *dir = opendir("/sys/class/virtio-ports");
		struct dirent *d;

		while (dir && (d = readdir(dir))) {
			(void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
				       d->d_name);
			FILE *f = fopen(path, "re");
			bool found = f && fgets(name, sizeof(name), f) &&
				     strcspn(name, "\n") == strlen(want) &&
				     strncmp(name, want, strlen(want)) == 0;

			if (f)
				(void)fclose(f);
			if (!found)
				continue;
			(void)snprintf(path, sizeof(path), "/dev/%s", d->d_name);
			(void)closedir(dir);
			return open(path, O_RDWR | O_CLOEXEC);
		}
		if (dir)
			(void)closedir(dir);
		(void)usleep(10000);
	}
}

/* The first connection to the agent's port. -1: this guest has no vsock. */
static int accept_vsock(void)
{
	struct sockaddr_vm a = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = VSOCK_PORT,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		return -1;
	return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

static void write_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else {
			(void)usleep(10000);
		}
	}
}

static void read_all(int fd, uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = read(fd, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else {
			(void)usleep(10000);
		}
	}
}

static void put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		p[n++] = (uint8_t)(v | 0x80);
	p[n++] = (uint8_t)v;
	return n;
}

/* A field of bytes: tag, length, data (NULL: that many 'x'). */
static size_t put_bytes(uint8_t *p, uint8_t tag, const void *data, size_t len)
{
	size_t n = 1;

	p[0] = tag;
	n += put_varint(p + n, len);
	if (data)
		memcpy(p + n, data, len);
	else
		memset(p + n, 'x', len);
	return n + len;
}

static void send_frame(struct agent *a, uint32_t claimed, uint32_t stream, uint8_t type,
		       size_t len)
{
	put_u32(a->out, claimed);
	put_u32(a->out + 4, stream);
	a->out[8] = type;
	a->out[9] = 0;
	write_all(a->port, a->out, HEADER + len);
}

/* An answer with this payload. */
static void answer(struct agent *a, uint32_t stream, const uint8_t *payload, size_t len)
{
	size_t n = len ? put_bytes(a->out + HEADER, 0x12, payload, len) : 0;

	send_frame(a, (uint32_t)n, stream, RESPONSE, n);
}

static void answer_number(struct agent *a, uint32_t stream, int64_t v)
{
	uint8_t payload[16] = { 0x08 };

	answer(a, stream, payload, 1 + put_varint(payload + 1, (uint64_t)v));
}

/* A ReadStreamResponse with `len` bytes of data. */
static void answer_data(struct agent *a, uint32_t stream, size_t len)
{
	uint8_t head[16] = { 0x0a };
	size_t inner = 1 + put_varint(head + 1, len), n = HEADER;

	a->out[n++] = 0x12;
	n += put_varint(a->out + n, inner + len);
	memcpy(a->out + n, head, inner);
	n += inner;
	memset(a->out + n, 'x', len);
	n += len - HEADER;
	send_frame(a, (uint32_t)n, stream, RESPONSE, n);
}

/* ---- what it does; true: the call has had its answer, or shall never get one ---- */

static _Noreturn void hang(void)
{
	for (;;)
		(void)pause();
}

static bool do_rubbish(struct agent *a, uint32_t stream)
{
	(void)stream;
	memset(a->out, 0xa5, 65536);
	write_all(a->port, a->out, 65536);
	hang();
}

static bool do_frame_4g(struct agent *a, uint32_t stream)
{
	send_frame(a, UINT32_MAX, stream, RESPONSE, 100);
	hang();
}

static bool do_frame_over(struct agent *a, uint32_t stream)
{
	send_frame(a, MAX_DATA + 1, stream, RESPONSE, 100);
	hang();
}

static bool do_half(struct agent *a, uint32_t stream)
{
	send_frame(a, 1000, stream, RESPONSE, 100);
	hang();
}

static bool do_unasked(struct agent *a, uint32_t stream)
{
	send_frame(a, 0, stream + 1000, RESPONSE, 0);
	hang();
}

static _Noreturn bool do_old(struct agent *a, uint32_t stream)
{
	answer(a, stream, NULL, 0);
	for (;;)
		answer(a, stream, NULL, 0);
}

static bool do_request(struct agent *a, uint32_t stream)
{
	(void)stream;
	send_frame(a, 0, 1, REQUEST, 0);
	hang();
}

static bool do_type(struct agent *a, uint32_t stream)
{
	send_frame(a, 0, stream, 9, 0);
	hang();
}

static bool do_envelope(struct agent *a, uint32_t stream)
{
	memset(a->out + HEADER, 0xff, 20);
	send_frame(a, 20, stream, RESPONSE, 20);
	return true;
}

static bool do_payload(struct agent *a, uint32_t stream)
{
	static const uint8_t broken[] = { 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1 };

	answer(a, stream, broken, sizeof(broken));
	return true;
}

static bool do_status(struct agent *a, uint32_t stream)
{
	static const char text[] = "\033[2Jgone\nkata: all is well\377";
	uint8_t status[64] = { 0x08, 13 };
	size_t n = 2 + put_bytes(status + 2, 0x12, text, sizeof(text) - 1);

	n = put_bytes(a->out + HEADER, 0x0a, status, n);
	send_frame(a, (uint32_t)n, stream, RESPONSE, n);
	return true;
}

static bool do_off(struct agent *a, uint32_t stream)
{
	(void)a;
	(void)stream;
	(void)reboot(RB_POWER_OFF);
	hang();
}

/* As after a triple fault: the machine goes, and nobody has said why. */
static bool do_reset(struct agent *a, uint32_t stream)
{
	(void)a;
	(void)stream;
	(void)reboot(RB_AUTOBOOT);
	hang();
}

static bool do_exit(struct agent *a, uint32_t stream)
{
	(void)a;
	(void)stream;
	exit(1); /* the kernel panics */
}

static bool do_fault(struct agent *a, uint32_t stream)
{
	static const char words[] =
		"kata-agent: signal 11 at 00000000deadbeef for 0000000000000000\n";
	int fd = open("/dev/console", O_WRONLY);

	write_all(fd, (const uint8_t *)words, sizeof(words) - 1);
	return do_exit(a, stream);
}

static bool do_silence(struct agent *a, uint32_t stream)
{
	(void)a;
	(void)stream;
	hang();
}

/* No answer, and never one: the rest goes on. */
static bool do_mute(struct agent *a, uint32_t stream)
{
	(void)stream;
	a->done = false;
	return true;
}

/* As a guest does that has a slow processor. */
static bool do_late(struct agent *a, uint32_t stream)
{
	const struct timespec t = { .tv_sec = 12 };

	(void)a;
	(void)stream;
	(void)nanosleep(&t, NULL);
	return false;
}

/* As a busy guest does: it refuses several times, and then it is done. */
static bool do_busy(struct agent *a, uint32_t stream)
{
	static int refused;

	a->done = ++refused == 5;
	return do_status(a, stream);
}

static bool do_number(struct agent *a, uint32_t stream)
{
	answer_number(a, stream, 70000);
	return true;
}

static bool do_negative(struct agent *a, uint32_t stream)
{
	answer_number(a, stream, -2);
	return true;
}

static bool do_endless(struct agent *a, uint32_t stream)
{
	a->done = false;
	answer_data(a, stream, 1 << 20);
	return true;
}

static bool do_more(struct agent *a, uint32_t stream)
{
	answer_data(a, stream, MAX_DATA - 64);
	return true;
}

static bool do_events(struct agent *a, uint32_t stream)
{
	uint8_t payload[16];

	a->done = false;
	answer(a, stream, payload, put_bytes(payload, 0x0a, "nobody", 6));
	return true;
}

static bool do_log(struct agent *a, uint32_t stream)
{
	(void)a;
	(void)stream;
	if (fork() == 0) {
		int fd = open_port("kata.log");
		char block[4096];

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (char)(i % 16 ? 27 + i % 200 : '\n');
		for (;;)
			write_all(fd, (uint8_t *)block, sizeof(block));
	}
	return false;
}

/* The shortest lines, as fast as the port takes them, and no answer. */
static bool do_torrent(struct agent *a, uint32_t stream)
{
	(void)a;
	(void)stream;
	if (fork() == 0) {
		static char block[1 << 20];
		int fd = open_port("kata.log");

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = i % 2 ? '\n' : 'x';
		for (;;)
			write_all(fd, (uint8_t *)block, sizeof(block));
	}
	return true;
}

static const struct {
	const char *name;
	bool (*act)(struct agent *a, uint32_t stream);
} modes[] = {
	{ "rubbish", do_rubbish }, { "frame-4g", do_frame_4g }, { "frame-over", do_frame_over },
	{ "half", do_half },       { "unasked", do_unasked },   { "old", do_old },
	{ "request", do_request }, { "type", do_type },         { "envelope", do_envelope },
	{ "payload", do_payload }, { "status", do_status },     { "off", do_off },
	{ "exit", do_exit },       { "fault", do_fault },       { "silence", do_silence },
	{ "mute", do_mute },       { "number", do_number },     { "negative", do_negative },
	{ "endless", do_endless }, { "more", do_more },         { "events", do_events },
	{ "log", do_log },         { "torrent", do_torrent },   { "late", do_late },
	{ "reset", do_reset },     { "busy", do_busy },
};

/* ---- the agent it pretends to be ---- */

static void serve(struct agent *a, const char *method, uint32_t stream)
{
	if (strcmp(method, "WaitProcess") == 0) {
		a->wait_stream = stream;
		a->exit_at = now_ms() + RUN_MS;
	} else if (strcmp(method, "ReadStdout") == 0 && a->stdout_reads++ == 0) {
		uint8_t payload[16];

		answer(a, stream, payload, put_bytes(payload, 0x0a, "hello\n", 6));
	} else if (strcmp(method, "WriteStdin") == 0) {
		answer_number(a, stream, 1);
	} else if (strcmp(method, "GetOOMEvent") != 0) {
		answer(a, stream, NULL, 0);
	}
}

static void handle(struct agent *a, const char *method, uint32_t stream)
{
	if (!a->done && strcmp(method, a->method) == 0) {
		a->done = true;
		for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
			if (strcmp(modes[i].name, a->mode) == 0 && modes[i].act(a, stream))
				return;
		}
	}
	serve(a, method, stream);
}

static void read_call(struct agent *a)
{
	char method[64] = "";
	uint32_t len, stream;
	const uint8_t *p = a->in;

	read_all(a->port, a->in, HEADER);
	len = get_u32(a->in);
	stream = get_u32(a->in + 4);
	read_all(a->port, a->in, len);
	/* ttrpc's Request: service = 1, method = 2; both are shorter than 128 bytes */
	p += 2 + p[1];
	(void)snprintf(method, sizeof(method), "%.*s", (int)p[1], (const char *)p + 2);
	handle(a, method, stream);
}

static void run(struct agent *a)
{
	for (;;) {
		struct pollfd p = { .fd = a->port, .events = POLLIN };
		int64_t left = a->exit_at ? a->exit_at - now_ms() : -1;

		if (a->exit_at && left <= 0) {
			a->exit_at = 0;
			answer_number(a, a->wait_stream, 0);
			continue;
		}
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		if (p.revents & POLLIN)
			read_call(a);
		else
			(void)usleep(10000); /* the host is not there yet */
	}
}

int main(void)
{
	static struct agent a;
	char line[4096] = "";
	const char *at;
	int fd;

	if (getpid() != 1) /* the kernel's modprobe: /init by its other name in the initrd */
		return 1;
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("sys", "/sys", "sysfs", 0, NULL);
	load_modules();
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!read(fd, line, sizeof(line) - 1);
		(void)close(fd);
	}
	at = strstr(line, "hostile=");
	if (at)
		(void)sscanf(at, "hostile=%31[^@ \n]@%31[^ \n]", a.mode, a.method);
	/* whichever way the engine has chosen */
	a.port = strstr(line, "agent.server_addr=vsock:") ? accept_vsock()
							  : open_port("kata.agent");
	run(&a);
}

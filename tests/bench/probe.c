/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmark runs in guests.
 *
 *	probe io DIR MIB	writes a file there, reads it, reads pieces of it; a line for
 *each probe serve PORT	per connection by its first byte: 's' swallows all and says how many
 *				bytes came, 'e' sends each byte back
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BLOCK = 1 << 20,
	PIECE = 4096,
	PIECES = 2000
};

static char block[BLOCK];

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* So that reading asks the share, not the page cache. */
static void forget(int fd)
{
	if (fsync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		fail("forget");
}

static off_t random_piece(long mib)
{
	return random() % (mib * BLOCK / PIECE) * PIECE;
}

static int io(const char *dir, long mib)
{
	char path[256];
	double began;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/probe", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(path);
	memset(block, 'x', sizeof(block));
	began = now();
	for (long i = 0; i < mib; i++) {
		if (write(fd, block, BLOCK) != BLOCK)
			fail("write");
	}
	forget(fd);
	(void)printf("write %.1f\n", (double)mib * BLOCK / 1e6 / (now() - began));
	(void)lseek(fd, 0, SEEK_SET);
	began = now();
	while (read(fd, block, BLOCK) > 0)
		;
	(void)printf("read %.1f\n", (double)mib * BLOCK / 1e6 / (now() - began));
	forget(fd);
	srandom(1);
	began = now();
	for (int i = 0; i < PIECES; i++) {
		if (pread(fd, block, PIECE, random_piece(mib)) != PIECE)
			fail("pread");
	}
	(void)printf("random-read %.0f\n", PIECES / (now() - began));
	forget(fd);
	began = now();
	for (int i = 0; i < PIECES; i++) {
		if (pwrite(fd, block, PIECE, random_piece(mib)) != PIECE)
			fail("pwrite");
	}
	if (fdatasync(fd) < 0)
		fail("fdatasync");
	(void)printf("random-write %.0f\n", PIECES / (now() - began));
	(void)unlink(path);
	return 0;
}

static void swallow(int fd)
{
	uint64_t total = 0;
	ssize_t n;

	while ((n = read(fd, block, BLOCK)) > 0)
		total += (uint64_t)n;
	(void)!write(fd, &total, sizeof(total));
}

static void send_back(int fd)
{
	char c;

	while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
		;
}

static int serve(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char kind;

	if (listening < 0 || bind(listening, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(listening, 4) < 0)
		fail("listen");
	for (;;) {
		int fd = accept(listening, NULL, NULL);

		if (fd < 0)
			fail("accept");
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (read(fd, &kind, 1) == 1)
			(kind == 's' ? swallow : send_back)(fd);
		(void)close(fd);
	}
}

int main(int argc, char **argv)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "io") == 0)
		return io(argv[2], strtol(argv[3], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve((int)strtol(argv[2], NULL, 10));
	return 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of a disk. The engine says where they lie, there is no table on the disk, and the
 * kernel is told by BLKPG (include/uapi/linux/blkpg.h).
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/device.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

enum {
	SECTOR = 512,
	NUMBERS = 255, /* Linux: DISK_MAX_PARTS - 1 */
	PATH_SIZE = 160
};

#define MAX_SECTORS (INT64_MAX / SECTOR)

struct part {
	uint64_t first, sectors;
};

static int parse(const char *where, struct part *out, struct err *e)
{
	const char *colon = strchr(where, ':');
	char first[24];

	if (!colon || (size_t)(colon - where) >= sizeof(first))
		return err_set(e, ERR_INVALID, 0, "part '%.64s' is not FIRST:SECTORS", where);
	(void)snprintf(first, sizeof(first), "%.*s", (int)(colon - where), where);
	if (str_to_u64(first, 0, MAX_SECTORS, "part's first sector", &out->first, e) < 0)
		return -1;
	return str_to_u64(colon + 1, 1, MAX_SECTORS - out->first, "part's sectors",
			  &out->sectors, e);
}

/* The directory of a partition in sysfs, with `what` in it. */
static void sysfs_path(const char *disk, unsigned n, const char *what, char out[PATH_SIZE])
{
	(void)snprintf(out, PATH_SIZE, "/sys/block/%.40s/%.40s%s%u%s", disk, disk,
		       isdigit((unsigned char)disk[strlen(disk) - 1]) ? "p" : "", n, what);
}

static uint64_t read_number(const char *path)
{
	OWN(free) char *text = NULL;
	struct err ignored;

	return file_read(AT_FDCWD, path, PATH_SIZE, &text, NULL, &ignored) < 0
		       ? UINT64_MAX
		       : strtoull(text, NULL, 10);
}

static bool is_there(const char *disk, unsigned n, const struct part *p)
{
	char start[PATH_SIZE], size[PATH_SIZE];

	sysfs_path(disk, n, "/start", start);
	sysfs_path(disk, n, "/size", size);
	return read_number(start) == p->first && read_number(size) == p->sectors;
}

static int call_kernel(int fd, int op, struct blkpg_partition *partition)
{
	struct blkpg_ioctl_arg arg = {
		.op = op,
		.datalen = sizeof(*partition),
		.data = partition,
	};

	return ioctl(fd, BLKPG, &arg);
}

/*
 * A layer is a stranger's, and may look like a partition table, which the kernel has read as
 * the disk came. What it made of that goes, before the first part of ours; those in use stay.
 */
static void clean(struct sandbox *s, int fd, const char *disk)
{
	char path[PATH_SIZE];
	uint64_t sequence;

	(void)snprintf(path, sizeof(path), "/sys/block/%.40s/diskseq", disk); /* Linux 5.15 */
	sequence = read_number(path);
	for (size_t i = 0; i < ARRAY_LEN(s->clean_disks); i++) {
		if (sequence != UINT64_MAX && s->clean_disks[i] == sequence)
			return;
	}
	for (unsigned n = 1; n <= NUMBERS; n++) {
		struct blkpg_partition p = { .pno = (int)n };

		(void)call_kernel(fd, BLKPG_DEL_PARTITION, &p);
	}
	s->clean_disks[s->clean_next++ % ARRAY_LEN(s->clean_disks)] = sequence;
}

static int add(int fd, const char *disk, const struct part *p, unsigned *out, struct err *e)
{
	struct blkpg_partition partition = {
		.start = (long long)(p->first * SECTOR),
		.length = (long long)(p->sectors * SECTOR),
	};
	char path[PATH_SIZE];
	unsigned n = 1;

	for (; n <= NUMBERS; n++) {
		sysfs_path(disk, n, "", path);
		if (access(path, F_OK) < 0)
			break;
	}
	if (n > NUMBERS)
		return err_set(e, ERR_UNSUPPORTED, 0, "disk '%s' has %d parts already", disk,
			       NUMBERS);
	partition.pno = (int)n;
	*out = n;
	if (call_kernel(fd, BLKPG_ADD_PARTITION, &partition) == 0)
		return 0;
	/* a mount that failed has left it */
	for (n = 1; errno == EBUSY && n <= NUMBERS; n++) {
		*out = n;
		if (is_there(disk, n, p))
			return 0;
		errno = EBUSY;
	}
	return err_sys(e, "part of '%s': %llu sectors from %llu", disk,
		       (unsigned long long)p->sectors, (unsigned long long)p->first);
}

int device_part(struct sandbox *s, const char *node, const char *where, char *out, size_t size,
		struct err *e)
{
	const char *disk = strrchr(node, '/');
	OWN(fd) int fd = -1;
	struct part p;
	unsigned n;

	if (!disk || !disk[1] || strlen(disk) > 40)
		return err_set(e, ERR_INVALID, 0, "'%.64s' is no disk", node);
	disk++;
	fd = open(node, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", node);
	if (parse(where, &p, e) < 0)
		return -1;
	clean(s, fd, disk);
	if (add(fd, disk, &p, &n, e) < 0)
		return -1;
	(void)snprintf(out, size, "%s%s%u", node,
		       isdigit((unsigned char)disk[strlen(disk) - 1]) ? "p" : "", n);
	return 0;
}

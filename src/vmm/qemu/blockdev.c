/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block nodes of a running QEMU. It is given descriptors ("/dev/fdset/<n>"): it runs as its own
 * user and sees no file of the host. Several files are one disk by a VMDK descriptor of flat
 * extents (block/vmdk.c since QEMU 1.0), whose lines name the sets of their descriptors.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/time.h"
#include "vmm/qemu/qemu.h"
#include "wire/json.h"
#include "wire/qmp.h"

enum {
	SECTOR = 512,
	CLOSE_MS = 2000,
	NO_SET = 0 /* they begin at 1000 */
};

struct jval *qemu_object(struct err *e, ...)
{
	OWN(jval) struct jval *o = jval_new_object();
	const char *key;
	bool bad = false;
	va_list ap;

	if (!o) {
		(void)err_oom(e, "a QMP command");
		return NULL;
	}
	va_start(ap, e);
	while (!bad && (key = va_arg(ap, const char *)))
		bad = jval_set_str(o, key, va_arg(ap, const char *), e) < 0;
	va_end(ap);
	return bad ? NULL : TAKE(o);
}

/* The set of one descriptor, of which the monitor keeps a duplicate. */
static int send_fd(struct qemu *q, int fd, int64_t deadline, unsigned *set, struct err *e)
{
	OWN(jval) struct jval *args = jval_new_object();
	unsigned n = q->next_fdset++;

	if (!args || jval_set_int(args, "fdset-id", n, e) < 0)
		return args ? -1 : err_oom(e, "a QMP command");
	if (qmp_execute_fd(q->qmp, "add-fd", TAKE(args), fd, deadline, NULL, e) < 0)
		return -1;
	*set = n;
	return 0;
}

/* The block layer holds its own duplicate; the set's would keep the file open for ever. */
static void remove_set(struct qemu *q, unsigned set, int64_t deadline)
{
	struct jval *args = set == NO_SET ? NULL : jval_new_object();
	struct err ignored;

	if (args && jval_set_int(args, "fdset-id", set, &ignored) < 0)
		jval_free(TAKE(args));
	if (args)
		(void)qmp_execute(q->qmp, "remove-fd", args, deadline, NULL, &ignored);
}

static int open_disk(const char *path, bool read_only, int *out, bool *is_device,
		     uint64_t *sectors, struct err *e)
{
	OWN(fd) int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	off_t end;

	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "'%s' is neither file nor block device",
			       path);
	end = lseek(fd, 0, SEEK_END);
	if (end < 0 || lseek(fd, 0, SEEK_SET) < 0 || fd_set_nonblock(fd, false, e) < 0)
		return err_sys(e, "'%s'", path);
	*is_device = S_ISBLK(st.st_mode);
	*sectors = (uint64_t)end / SECTOR;
	*out = fd_take(&fd);
	return 0;
}

static int add_node(struct qemu *q, const char *node, const char *format, const char *protocol,
		    unsigned set, bool read_only, int64_t deadline, struct err *e)
{
	OWN(jval) struct jval *args = NULL;
	OWN(jval) struct jval *file = NULL;
	char path[40];

	(void)snprintf(path, sizeof(path), "/dev/fdset/%u", set);
	file = qemu_object(e, "driver", protocol, "filename", path, "locking", "off", NULL);
	args = qemu_object(e, "driver", format, "node-name", node, NULL);
	if (!file || !args || jval_set_bool(file, "read-only", read_only, e) < 0 ||
	    jval_set_bool(args, "read-only", read_only, e) < 0 ||
	    jval_set(args, "file", TAKE(file), e) < 0)
		return -1;
	return qmp_execute(q->qmp, "blockdev-add", TAKE(args), deadline, NULL, e);
}

static int add_one(struct qemu *q, const struct vmm_device *d, const char *node,
		   int64_t deadline, struct err *e)
{
	OWN(fd) int fd = -1;
	unsigned set = NO_SET;
	bool is_device;
	uint64_t sectors;
	int rc;

	if (open_disk(d->blk.path, d->blk.read_only, &fd, &is_device, &sectors, e) < 0 ||
	    send_fd(q, fd, deadline, &set, e) < 0)
		return -1;
	rc = add_node(q, node, "raw", is_device ? "host_device" : "file", set, d->blk.read_only,
		      deadline, e);
	remove_set(q, set, deadline_in(CLOSE_MS));
	return rc;
}

/* ---- of several files ---- */

/* Its line of the descriptor; "RW" is a word of the format: the node is read-only. */
static int add_extent(struct qemu *q, const struct vmm_extent *x, int64_t deadline,
		      struct buf *text, unsigned *set, struct err *e)
{
	OWN(fd) int fd = -1;
	bool is_device;
	uint64_t sectors;

	if (open_disk(x->path, true, &fd, &is_device, &sectors, e) < 0)
		return -1;
	if (sectors < x->sectors)
		return err_set(e, ERR_INVALID, 0, "'%s' has become smaller", x->path);
	if (send_fd(q, fd, deadline, set, e) < 0)
		return -1;
	return buf_printf(text, e, "RW %llu FLAT \"/dev/fdset/%u\" 0\n",
			  (unsigned long long)x->sectors, *set);
}

/* Opened once more: the monitor wants a descriptor that can be read and no more. */
static int make_descriptor(const struct buf *text, int *out, struct err *e)
{
	OWN(fd) int file = sys_memfd_create("extents", MFD_CLOEXEC);
	char path[40];

	if (file < 0)
		return err_sys(e, "memfd_create");
	if (fd_write_all(file, buf_head(text), buf_len(text), e) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	*out = open(path, O_RDONLY | O_CLOEXEC);
	return *out < 0 ? err_sys(e, "open '%s'", path) : 0;
}

static int join_extents(struct qemu *q, const struct vmm_device *d, const char *node,
			int64_t deadline, unsigned *sets, struct err *e)
{
	OWN(buf) struct buf text = BUF_INIT;
	OWN(fd) int fd = -1;

	if (buf_puts(&text,
		     "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
		     "createType=\"twoGbMaxExtentFlat\"\n",
		     e) < 0)
		return -1;
	for (size_t i = 0; i < d->blk.extent_count; i++) {
		if (add_extent(q, &d->blk.extents[i], deadline, &text, &sets[i], e) < 0)
			return -1;
	}
	if (make_descriptor(&text, &fd, e) < 0 ||
	    send_fd(q, fd, deadline, &sets[d->blk.extent_count], e) < 0)
		return -1;
	return add_node(q, node, "vmdk", "file", sets[d->blk.extent_count], true, deadline, e);
}

static int add_several(struct qemu *q, const struct vmm_device *d, const char *node,
		       int64_t deadline, struct err *e)
{
	OWN(free) unsigned *sets = mem_calloc(d->blk.extent_count + 1, sizeof(*sets));
	int64_t close_deadline;
	int rc;

	if (!sets)
		return err_oom(e, "a disk");
	rc = join_extents(q, d, node, deadline, sets, e);
	close_deadline = deadline_in(CLOSE_MS); /* of all: the monitor may hang */
	for (size_t i = 0; i <= d->blk.extent_count; i++)
		remove_set(q, sets[i], close_deadline);
	return rc;
}

int qemu_blockdev_add(struct qemu *q, const struct vmm_device *d, const char *node,
		      int64_t deadline, struct err *e)
{
	return (d->blk.extent_count ? add_several : add_one)(q, d, node, deadline, e);
}

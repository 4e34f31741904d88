/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files a guest boots from, checked before QEMU sees them: QEMU takes anything for a
 * kernel or initrd and the guest then dies without a word.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"
#include "vmm/qemu/qemu.h"

enum {
	INITRD_ALIGN = 512,
	HEAD = 1024,
	NOTES_MAX = 4096,
	PVH_NOTE = 18
};

void qemu_files_close(struct qemu_files *f)
{
	fd_close(&f->kernel);
	fd_close(&f->initrd);
}

static int open_file(const char *what, const char *path, uint8_t head[HEAD], int *out,
		     uint64_t *size, struct err *e)
{
	OWN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno, "%s '%s'",
			       what, path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "%s '%s'", what, path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "%s '%s' is no regular file", what, path);
	memset(head, 0, HEAD);
	n = pread(fd, head, HEAD, 0);
	if (n < 0)
		return err_sys(e, "%s '%s': read", what, path);
	if (n == 0)
		return err_set(e, ERR_INVALID, 0, "%s '%s' is empty", what, path);
	*out = fd_take(&fd);
	*size = (uint64_t)st.st_size;
	return 0;
}

/*
 * A cut-off ELF file would be loaded as far as it goes: every segment must end within `size`.
 * Headers lie behind the head of the file in none that a linker writes.
 */
static bool is_whole(const uint8_t head[HEAD], uint64_t size)
{
	Elf64_Ehdr h;

	memcpy(&h, head, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
		return true;
	if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phoff > HEAD ||
	    h.e_phnum > (HEAD - h.e_phoff) / sizeof(Elf64_Phdr))
		return false;
	for (size_t i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr p;

		memcpy(&p, head + h.e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_offset > size || p.p_filesz > size - p.p_offset)
			return false;
	}
	return true;
}

/* The entry of the Xen PVH ABI (type 18 of owner "Xen"), by which QEMU starts an ELF kernel. */
static bool has_pvh_note(const uint8_t *notes, size_t len)
{
	Elf64_Nhdr n;

	for (size_t at = 0; len - at >= sizeof(n);) {
		size_t name, desc;

		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		name = ((size_t)n.n_namesz + 3) & ~(size_t)3;
		desc = ((size_t)n.n_descsz + 3) & ~(size_t)3;
		if (name > len - at || desc > len - at - name)
			return false;
		if (n.n_type == PVH_NOTE && n.n_namesz == 4 && !memcmp(notes + at, "Xen", 4))
			return true;
		at += name + desc;
	}
	return false;
}

static bool is_bootable(int fd, const uint8_t head[HEAD])
{
	uint8_t notes[NOTES_MAX];
	Elf64_Ehdr h;

	memcpy(&h, head, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
		return true;
	for (size_t i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr p;
		ssize_t n;

		memcpy(&p, head + h.e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type != PT_NOTE)
			continue;
		n = pread(fd, notes, p.p_filesz < sizeof(notes) ? p.p_filesz : sizeof(notes),
			  (off_t)p.p_offset);
		if (n > 0 && has_pvh_note(notes, (size_t)n))
			return true;
	}
	return false;
}

/* ELF for x86-64, or the boot protocol's "HdrS" (Documentation/x86/boot.rst). */
static bool is_kernel(const uint8_t head[HEAD])
{
	bool elf = memcmp(head, "\177ELF\2\1", 6) == 0 && head[18] == 62;

	return elf || memcmp(head + 0x202, "HdrS", 4) == 0;
}

/* What the kernel unpacks: cpio "newc", plain or in one of its compressions. */
static bool is_initrd(const uint8_t head[HEAD])
{
	static const struct {
		const char *magic;
		size_t len;
	} rows[] = {
		{ "070701", 6 },     { "070702", 6 },     { "\037\213", 2 },
		{ "BZh", 3 },        { "]\0\0", 3 },      { "\3757zXZ", 5 },
		{ "\211LZO", 4 },    { "\002!L\030", 4 }, { "\004\"M\030", 4 },
		{ "(\265/\375", 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (memcmp(head, rows[i].magic, rows[i].len) == 0)
			return true;
	}
	return false;
}

static int open_initrd(const char *path, int *out, uint64_t *size, struct err *e)
{
	OWN(fd) int fd = -1;
	uint8_t head[HEAD];

	if (open_file("initrd", path, head, &fd, size, e) < 0)
		return -1;
	if (!is_initrd(head))
		return err_set(e, ERR_INVALID, 0, "initrd '%s' is no cpio archive", path);
	*out = fd_take(&fd);
	return 0;
}

static int append_file(int to, int from, const char *path, uint64_t size, struct err *e)
{
	off_t at = 0, end;

	while ((uint64_t)at < size) {
		ssize_t n = sendfile(to, from, &at, (size_t)(size - (uint64_t)at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "copy '%s'", path);
	}
	end = lseek(to, 0, SEEK_END);
	if (end < 0)
		return err_sys(e, "copy '%s'", path);
	end = (end + INITRD_ALIGN - 1) / INITRD_ALIGN * INITRD_ALIGN;
	if (ftruncate(to, end) < 0 || lseek(to, end, SEEK_SET) < 0)
		return err_sys(e, "copy '%s'", path);
	return 0;
}

/* Archives one behind the other, zeros between them: the kernel unpacks all of them. */
static int join_initrds(const char *const *paths, int *out, uint64_t *size, struct err *e)
{
	OWN(fd) int all = sys_memfd_create("initrd", MFD_CLOEXEC);
	uint64_t total = 0;

	if (all < 0)
		return err_sys(e, "memfd_create");
	for (size_t i = 0; paths[i]; i++) {
		OWN(fd) int fd = -1;
		uint64_t one;

		if (open_initrd(paths[i], &fd, &one, e) < 0 ||
		    append_file(all, fd, paths[i], one, e) < 0)
			return -1;
		total += one;
	}
	*out = fd_take(&all);
	*size = total;
	return 0;
}

/*
 * The monitor opens them once more, as its own user: one that others may not read, such as a
 * distribution's kernel of mode 0600, is given to it as a copy.
 */
static int make_readable(const struct vmm_config *c, const char *path, int *fd, struct err *e)
{
	OWN(fd) int copy = -1;
	struct stat st;

	if (fstat(*fd, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	if (c->uid == 0 || st.st_mode & S_IROTH)
		return 0;
	copy = sys_memfd_create("file", MFD_CLOEXEC);
	if (copy < 0)
		return err_sys(e, "memfd_create");
	if (append_file(copy, *fd, path, (uint64_t)st.st_size, e) < 0)
		return -1;
	fd_close(fd);
	*fd = fd_take(&copy);
	return 0;
}

int qemu_files_open(const struct vmm_config *c, struct qemu_files *out, struct err *e)
{
	OWN(qemu_files) struct qemu_files f = { .kernel = -1, .initrd = -1 };
	uint8_t head[HEAD];
	uint64_t kernel_size, initrd_size = 0;

	if (open_file("kernel", c->kernel, head, &f.kernel, &kernel_size, e) < 0)
		return -1;
	if (!is_kernel(head))
		return err_set(e, ERR_INVALID, 0, "kernel '%s' is no kernel for this machine",
			       c->kernel);
	if (!is_whole(head, kernel_size))
		return err_set(e, ERR_INVALID, 0, "kernel '%s' is cut off or damaged",
			       c->kernel);
	if (!is_bootable(f.kernel, head))
		return err_set(e, ERR_INVALID, 0,
			       "kernel '%s' is no kernel, or one without CONFIG_PVH",
			       c->kernel);
	if (make_readable(c, c->kernel, &f.kernel, e) < 0)
		return -1;
	if (c->initrds && c->initrds[0] && !c->initrds[1]) {
		if (open_initrd(c->initrds[0], &f.initrd, &initrd_size, e) < 0 ||
		    make_readable(c, c->initrds[0], &f.initrd, e) < 0)
			return -1;
	} else if (c->initrds && c->initrds[0]) {
		if (join_initrds(c->initrds, &f.initrd, &initrd_size, e) < 0)
			return -1;
	}
	f.bytes = kernel_size + initrd_size;
	if (initrd_size >= c->memory_mib << 20)
		return err_set(e, ERR_INVALID, 0, "an initrd of %llu MiB in %llu MiB of memory",
			       (unsigned long long)(initrd_size >> 20),
			       (unsigned long long)c->memory_mib);
	*out = f;
	f = (struct qemu_files){ .kernel = -1, .initrd = -1 };
	return 0;
}

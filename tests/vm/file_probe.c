/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a directory's file system can do, a line each: "name: yes", or "name: no" and the errno;
 * for test_files.py, which compares containers' directories with a local one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char block[4096];

static int make(const char *name)
{
	return open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
}

static bool is(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	struct stat st;

	return lstat(name, &st) == 0 && (st.st_mode & 07777) == mode && st.st_uid == uid &&
	       st.st_gid == gid;
}

static bool owners(void)
{
	return close(make("o")) == 0 && chown("o", 1234, 5678) == 0 &&
	       is("o", 0644, 1234, 5678);
}

static bool set_id_bits(void)
{
	return close(make("s")) == 0 && chmod("s", 06755) == 0 && is("s", 06755, 0, 0) &&
	       mkdir("sd", 0755) == 0 && chown("sd", 0, 99) == 0 && chmod("sd", 02775) == 0 &&
	       close(make("sd/in")) == 0 && is("sd/in", 0644, 0, 99);
}

static bool hard_links(void)
{
	struct stat a, b;

	return close(make("h")) == 0 && link("h", "h2") == 0 && stat("h", &a) == 0 &&
	       stat("h2", &b) == 0 && a.st_ino == b.st_ino && a.st_nlink == 2;
}

static bool symbolic_links(void)
{
	char to[8] = "";

	return symlink("to", "l") == 0 && readlink("l", to, sizeof(to)) == 2 &&
	       memcmp(to, "to", 2) == 0;
}

static bool fifos(void)
{
	int r, w;
	char c;

	if (mkfifo("f", 0600) < 0)
		return false;
	r = open("f", O_RDONLY | O_NONBLOCK);
	w = open("f", O_WRONLY | O_NONBLOCK);
	return write(w, "x", 1) == 1 && read(r, &c, 1) == 1;
}

static bool sockets(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "u" };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);

	return bind(s, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(s, 1) == 0 &&
	       connect(c, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static bool device_nodes(void)
{
	struct stat st;

	return mknod("n", S_IFCHR | 0600, makedev(1, 3)) == 0 && stat("n", &st) == 0 &&
	       S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static bool user_xattrs(void)
{
	char v[8];

	return close(make("x")) == 0 && setxattr("x", "user.k", "value", 5, 0) == 0 &&
	       getxattr("x", "user.k", v, sizeof(v)) == 5 && removexattr("x", "user.k") == 0;
}

static bool file_capabilities(void)
{
	/* version 2, effective, CAP_NET_RAW */
	static const unsigned char cap[20] = { 1, 0, 0, 2, 0, 0x20 };

	return close(make("c")) == 0 &&
	       setxattr("c", "security.capability", cap, sizeof(cap), 0) == 0;
}

/* version 2: user::rw- user:7:r-- group::--- mask::r-- other::--- */
static const unsigned char acl_of_7[] = { 2,    0,    0,   0, 1,   0,   6,   0,   255,
					  255,  255,  255, 2, 0,   4,   0,   7,   0,
					  0,    0,    4,   0, 0,   0,   255, 255, 255,
					  255,  0x10, 0,   4, 0,   255, 255, 255, 255,
					  0x20, 0,    0,   0, 255, 255, 255, 255 };

static bool access_lists(void)
{
	return close(make("a")) == 0 &&
	       setxattr("a", "system.posix_acl_access", acl_of_7, sizeof(acl_of_7), 0) == 0;
}

/* Opens a file as somebody else; its errno, 0 if that goes. */
static int open_as(const char *name, uid_t uid, gid_t gid)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
			_exit(255);
		_exit(open(name, O_RDONLY) < 0 ? errno : 0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The mode has r for the group, which the list has not: it is user 7's. */
static bool access_lists_hold(void)
{
	return chmod(".", 0755) == 0 && close(make("al")) == 0 &&
	       setxattr("al", "system.posix_acl_access", acl_of_7, sizeof(acl_of_7), 0) == 0 &&
	       open_as("al", 7, 8) == 0 && open_as("al", 8, 0) == EACCES;
}

static bool access_lists_are_inherited(void)
{
	unsigned char found[sizeof(acl_of_7)];

	return mkdir("ad", 0755) == 0 &&
	       setxattr("ad", "system.posix_acl_default", acl_of_7, sizeof(acl_of_7), 0) == 0 &&
	       close(make("ad/new")) == 0 &&
	       getxattr("ad/new", "system.posix_acl_access", found, sizeof(found)) ==
		       (ssize_t)sizeof(found) &&
	       open_as("ad/new", 7, 8) == 0 && open_as("ad/new", 8, 0) == EACCES;
}

static bool shared_mappings(void)
{
	int fd = make("m");
	char *p, c = 0;

	if (ftruncate(fd, 8192) < 0)
		return false;
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return false;
	p[5000] = 'x';
	return msync(p, 8192, MS_SYNC) == 0 && pread(fd, &c, 1, 5000) == 1 && c == 'x';
}

static bool executables(void)
{
	int fd = open("e", O_WRONLY | O_CREAT | O_EXCL, 0755),
	    from = open("/proc/self/exe", O_RDONLY);
	int status = -1;
	pid_t pid;
	ssize_t n;

	while ((n = read(from, block, sizeof(block))) > 0 && write(fd, block, (size_t)n) == n)
		;
	(void)close(fd);
	pid = fork();
	if (pid == 0) {
		(void)execl("./e", "e", (char *)NULL);
		_exit(9);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 2;
}

/* Whether another process is kept out; `kind`: 0 flock(2), 1 fcntl(2), 2 of open files. */
static bool excludes(int kind)
{
	struct flock l = { .l_type = F_WRLCK };
	int fd = open("k", O_RDWR | O_CREAT, 0644), status = -1;
	pid_t pid;

	if (kind == 0 ? flock(fd, LOCK_EX | LOCK_NB) < 0
		      : fcntl(fd, kind == 1 ? F_SETLK : F_OFD_SETLK, &l) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		int other = open("k", O_RDWR);

		if (other < 0)
			_exit(2);

		_exit((kind == 0 ? flock(other, LOCK_EX | LOCK_NB)
				 : fcntl(other, kind == 1 ? F_SETLK : F_OFD_SETLK, &l)) < 0
			      ? 0
			      : 1);
	}
	(void)waitpid(pid, &status, 0);
	(void)close(fd);
	return status == 0;
}

static bool flocks(void)
{
	return excludes(0);
}

static bool record_locks(void)
{
	return excludes(1);
}

static bool open_file_locks(void)
{
	return excludes(2);
}

static bool unnamed_files(void)
{
	char path[32];
	int fd = open(".", O_TMPFILE | O_RDWR, 0644);

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd >= 0 && write(fd, "x", 1) == 1 &&
	       linkat(AT_FDCWD, path, AT_FDCWD, "t", AT_SYMLINK_FOLLOW) == 0 &&
	       access("t", F_OK) == 0;
}

static bool renames(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags) == 0;
}

static bool rename_over(void)
{
	return close(make("r1")) == 0 && close(make("r2")) == 0 && renames("r1", "r2", 0) &&
	       access("r1", F_OK) < 0;
}

static bool rename_noreplace(void)
{
	return close(make("p1")) == 0 && close(make("p2")) == 0 &&
	       !renames("p1", "p2", RENAME_NOREPLACE) && errno == EEXIST &&
	       renames("p1", "p3", RENAME_NOREPLACE);
}

static bool rename_exchange(void)
{
	return close(make("q1")) == 0 && mkdir("q2", 0755) == 0 &&
	       renames("q1", "q2", RENAME_EXCHANGE) && rmdir("q1") == 0;
}

static bool unlinked_files(void)
{
	int fd = make("d");
	char c;
	struct stat st;

	return unlink("d") == 0 && write(fd, "x", 1) == 1 && pread(fd, &c, 1, 0) == 1 &&
	       fstat(fd, &st) == 0 && st.st_nlink == 0 && fchmod(fd, 0600) == 0;
}

static bool direct_io(void)
{
	void *p = NULL;
	int fd = open("i", O_RDWR | O_CREAT | O_DIRECT, 0644);

	return fd >= 0 && posix_memalign(&p, 4096, 4096) == 0 && write(fd, p, 4096) == 4096;
}

static bool preallocation(void)
{
	int fd = make("b");
	struct stat st;

	return fallocate(fd, 0, 0, 1 << 20) == 0 && fstat(fd, &st) == 0 &&
	       st.st_blocks >= (1 << 20) / 512;
}

static bool holes_punched(void)
{
	int fd = make("g");

	for (int i = 0; i < 64; i++) {
		if (write(fd, block, sizeof(block)) != sizeof(block))
			return false;
	}
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536) == 0;
}

static bool holes_found(void)
{
	int fd = make("j");

	return pwrite(fd, "x", 1, 1 << 20) == 1 && fsync(fd) == 0 &&
	       lseek(fd, 0, SEEK_DATA) == 1 << 20;
}

static bool large_files(void)
{
	int fd = make("w");
	struct stat st;

	return pwrite(fd, "x", 1, (off_t)1 << 40) == 1 && fstat(fd, &st) == 0 &&
	       st.st_size == ((off_t)1 << 40) + 1;
}

static bool copies_in_the_kernel(void)
{
	int from = make("v"), to = make("v2");
	loff_t a = 0, b = 0;

	return write(from, block, sizeof(block)) == sizeof(block) &&
	       syscall(SYS_copy_file_range, from, &a, to, &b, sizeof(block), 0) ==
		       sizeof(block);
}

static bool times(void)
{
	struct timespec t[2] = { { 1000000000, 123456789 }, { 1000000001, 987654321 } };
	struct stat st;

	return close(make("y")) == 0 && utimensat(AT_FDCWD, "y", t, 0) == 0 &&
	       stat("y", &st) == 0 && st.st_mtim.tv_sec == 1000000001 &&
	       st.st_mtim.tv_nsec == 987654321;
}

static bool birth_times(void)
{
	struct statx st;

	return close(make("z")) == 0 && statx(AT_FDCWD, "z", 0, STATX_BTIME, &st) == 0 &&
	       st.stx_mask & STATX_BTIME;
}

static bool long_names(void)
{
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	return close(make(name)) == 0 && unlink(name) == 0 && close(make("\xff\xfe")) == 0;
}

static bool many_entries(void)
{
	struct dirent *ent;
	char name[16];
	int n = 0;
	DIR *d;

	if (mkdir("many", 0755) < 0)
		return false;
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(name, sizeof(name), "many/%d", i);
		if (close(make(name)) < 0)
			return false;
	}
	d = opendir("many");
	while (d && (ent = readdir(d)))
		n += ent->d_name[0] != '.';
	return n == 1500;
}

static bool own_changes_watched(void)
{
	int in = inotify_init1(IN_NONBLOCK);

	return inotify_add_watch(in, ".", IN_CREATE) >= 0 && close(make("watched")) == 0 &&
	       read(in, block, sizeof(block)) > 0;
}

static const struct {
	const char *name;
	bool (*works)(void);
} probes[] = {
	{ "owners", owners },
	{ "set-ID bits", set_id_bits },
	{ "hard links", hard_links },
	{ "symbolic links", symbolic_links },
	{ "fifos", fifos },
	{ "sockets", sockets },
	{ "device nodes", device_nodes },
	{ "user xattrs", user_xattrs },
	{ "file capabilities", file_capabilities },
	{ "access control lists kept", access_lists },
	{ "access control lists hold", access_lists_hold },
	{ "access control lists inherited", access_lists_are_inherited },
	{ "shared mappings", shared_mappings },
	{ "executables", executables },
	{ "flock", flocks },
	{ "record locks", record_locks },
	{ "open file locks", open_file_locks },
	{ "O_TMPFILE", unnamed_files },
	{ "rename over", rename_over },
	{ "RENAME_NOREPLACE", rename_noreplace },
	{ "RENAME_EXCHANGE", rename_exchange },
	{ "unlinked open files", unlinked_files },
	{ "O_DIRECT", direct_io },
	{ "fallocate", preallocation },
	{ "punched holes", holes_punched },
	{ "SEEK_DATA", holes_found },
	{ "1 TiB offsets", large_files },
	{ "copy_file_range", copies_in_the_kernel },
	{ "nanosecond times", times },
	{ "birth times", birth_times },
	{ "names of 255 bytes, any bytes", long_names },
	{ "1500 entries", many_entries },
	{ "inotify of own changes", own_changes_watched },
};

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	(void)umask(022);
	if (chdir(argv[1]) < 0)
		return 1;
	for (size_t i = 0; i < COUNT(probes); i++) {
		errno = 0;
		if (probes[i].works())
			(void)printf("%s: yes\n", probes[i].name);
		else
			(void)printf("%s: no (%s)\n", probes[i].name, strerror(errno));
		(void)fflush(stdout);
	}
	return 0;
}

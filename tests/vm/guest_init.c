/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the guests that the VMM's tests boot: loads the modules, then runs every line that
 * comes over the serial port "agent" with busybox's shell and answers with its output and
 * "\n@@ <status>\n". Not the agent: it trusts its host.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void load_modules(void)
{
	FILE *list = fopen("/lib/modules/load", "re");
	char line[256], file[128], path[160];

	if (!list)
		return;
	while (fgets(line, sizeof(line), list)) {
		if (sscanf(line, "boot %127s", file) != 1)
			continue;
		(void)snprintf(path, sizeof(path), "/lib/modules/%s", file);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			(void)syscall(SYS_finit_module, fd, "", 0);
			(void)close(fd);
		}
	}
	(void)fclose(list);
}

/* The device node of the port with this name, or -1. */
static int open_port(const char *want)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	char path[300], name[64];
	struct dirent *d;
	int fd = -1;

	while (dir && fd < 0 && (d = readdir(dir))) {
		(void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
			       d->d_name);
		FILE *f = fopen(path, "re");

		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && strcspn(name, "\n") == strlen(want) &&
		    strncmp(name, want, strlen(want)) == 0) {
			(void)snprintf(path, sizeof(path), "/dev/%s", d->d_name);
			fd = open(path, O_RDWR);
		}
		(void)fclose(f);
	}
	if (dir)
		(void)closedir(dir);
	return fd;
}

static int run_line(char *line, int port)
{
	char name[] = "busybox", shell[] = "sh", flag[] = "-c", path[] = "PATH=/bin";
	char *const argv[] = { name, shell, flag, line, NULL };
	char *const envp[] = { path, NULL };
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		(void)dup2(port, 1);
		(void)dup2(port, 2);
		(void)execve("/bin/busybox", argv, envp);
		_exit(127);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	char line[4096];
	size_t len = 0;
	int port = -1;

	if (getpid() != 1) /* run as /sbin/modprobe */
		return 1;
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("sys", "/sys", "sysfs", 0, NULL);
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	for (int i = 0; i < 3000 && port < 0; i++) {
		port = open_port("agent");
		if (port < 0)
			(void)usleep(5000);
	}
	if (port < 0)
		_exit(1); /* PID 1: the kernel panics and says so */
	(void)!write(port, "ready\n", 6);
	for (;;) {
		ssize_t n = read(port, line + len, 1);

		if (n <= 0) {
			(void)usleep(5000);
			continue;
		}
		if (len < sizeof(line) - 2 && line[len] != '\n') {
			len++;
			continue;
		}
		line[len] = '\0';
		len = 0;
		if (strcmp(line, "exit") == 0)
			_exit(3);
		(void)dprintf(port, "\n@@ %d\n", run_line(line, port));
	}
}

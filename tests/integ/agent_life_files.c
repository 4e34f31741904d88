/* SPDX-License-Identifier: Apache-2.0 */
/* What a container sees of its root file system and mounts. */
#include "agent_life.h"

#include <sys/stat.h>

void test_files(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(
		t,
		ARGS("sh", "-c",
		     "cat /proc/masked-file 2>/dev/null; wc -c </etc/secret; ls -A /etc/hidden; "
		     "touch /etc/ro-dir/x 2>/dev/null && echo wrote; "
		     "touch /new 2>/dev/null && echo wrote-root; echo x >/tmp/y && cat /tmp/y; "
		     "ls /dev; cat /bound/file; touch /bound/z 2>/dev/null && echo wrote-bound"));
	const char *out, *err_text;
	char source[512];
	int status;

	(void)snprintf(source, sizeof(source), "%s/etc/volume", t->rootfs);
	add_mount(t, r->oci, "/bound", "bind", source, "rbind,ro,rprivate");
	add_str(t, &r->oci->linux->maskedpaths, &r->oci->linux->n_maskedpaths, "/etc/secret");
	add_str(t, &r->oci->linux->maskedpaths, &r->oci->linux->n_maskedpaths, "/etc/hidden");
	add_str(t, &r->oci->linux->maskedpaths, &r->oci->linux->n_maskedpaths, "/no/such/path");
	add_str(t, &r->oci->linux->readonlypaths, &r->oci->linux->n_readonlypaths,
		"/etc/ro-dir");
	r->oci->root->readonly = true;
	status = run_request(t, r, &out, &err_text);
	CHECK(t, status == 1, "%d %s", status, err_text);
	CHECK(t, str_starts(out, "0\nx\n"), "'%s'", out);
	CHECK(t, !strstr(out, "wrote"), "'%s'", out);
	CHECK(t, strstr(out, "core") == NULL && strstr(out, "null\nptmx\npts\nrandom\nshm\n"),
	      "'%s'", out);
	CHECK(t, strstr(out, "in the volume\n"), "'%s'", out);
}

/* What it covers may be in it, gives it its mode, and it is read-only when all below it is
 * there. */
void test_tmpfs(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(
		t,
		ARGS("sh", "-c",
		     "cat /etc/volume/file; stat -c %a /etc/volume /etc/hidden /etc/inner /new; "
		     "touch /etc/volume/x 2>/dev/null && echo wrote; "
		     "touch /etc/ro-dir/x 2>/dev/null && echo wrote; "
		     "touch /etc/ro-dir/sub/x && ls /etc/ro-dir; touch /dev/x 2>/dev/null || "
		     "grep -c ' /dev tmpfs ro,' /proc/mounts"));
	const char *out, *err_text;
	char path[512], want[64];
	struct stat st;
	int status;

	(void)snprintf(path, sizeof(path), "%s/etc/hidden", t->rootfs);
	CHECK(t, chmod(path, 0751) == 0 && stat(path, &st) == 0, "%s", path);
	add_str(t, &r->oci->mounts[1]->options, &r->oci->mounts[1]->n_options, "ro");
	CHECK(t, str_eq(r->oci->mounts[1]->destination, "/dev"), "the second mount");
	add_mount(t, r->oci, "/etc/volume", "tmpfs", "tmpfs",
		  "rprivate,ro,nosuid,tmpcopyup,size=1m,mode=0710");
	add_mount(t, r->oci, "/etc/hidden", "tmpfs", "tmpfs", "nosuid,nodev,noexec");
	add_mount(t, r->oci, "/etc/inner", "tmpfs", "tmpfs", "size=64k,mode=711");
	add_mount(t, r->oci, "/new", "tmpfs", "tmpfs", "size=64k");
	add_mount(t, r->oci, "/etc/ro-dir", "tmpfs", "tmpfs", "ro,nosuid");
	add_mount(t, r->oci, "/etc/ro-dir/sub", "tmpfs", "tmpfs", "nosuid");
	status = run_request(t, r, &out, &err_text);
	CHECK(t, status == 0, "%d '%s' '%s'", status, out, err_text);
	(void)snprintf(want, sizeof(want), "in the volume\n710\n751\n711\n1777\nsub\n1\n");
	CHECK(t, str_eq(out, want), "'%s' '%s'", out, err_text);
	/* and what was covered is as it was */
	(void)snprintf(path, sizeof(path), "%s/etc/volume", t->rootfs);
	CHECK(t, stat(path, &st) == 0 && (st.st_mode & 07777) == 0755, "%o", st.st_mode);
}

/* Links in the image that point out of it. */
void test_hostile_rootfs(struct test *t)
{
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c", "cat /escape/mark; ls /etc/inner"));
	const char *out, *err_text;

	/* /escape is a link to ../../../../../etc/inner: resolved inside the root */
	add_mount(t, r->oci, "/escape", "tmpfs", "tmpfs", "size=64k");
	(void)run_request(t, r, &out, &err_text);
	CHECK(t, strstr(err_text, "mark"), "'%s' '%s'", out, err_text);
}

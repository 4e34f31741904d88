/* SPDX-License-Identifier: Apache-2.0 */
/* What a container sees of its root file system and mounts. */
#include "agent_life.h"

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

/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/sys/net shows the namespace of whoever looks up a name there. */
#include "net/parameters.h"

#include <assert.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

static const struct {
	const char *key;
	bool or_all; /* applies to a link also where it is set for all (ip-sysctl) */
} of_link[] = {
	{ "ipv4/forwarding", false },    { "ipv4/rp_filter", true },
	{ "ipv4/arp_filter", true },     { "ipv4/proxy_arp", true },
	{ "ipv4/arp_ignore", true },     { "ipv4/arp_announce", true },
	{ "ipv4/route_localnet", true }, { "ipv6/disable_ipv6", false },
	{ "ipv6/accept_ra", false },     { "ipv6/forwarding", false },
	{ "ipv6/autoconf", false },      { "ipv6/proxy_ndp", true },
};
static_assert(ARRAY_LEN(of_link) == PARAMETERS_LINK, "one value each");

/* One that the guest's kernel refuses is said in its log. */
static const char *const of_all[] = {
	"net/core/somaxconn",           "net/ipv4/ip_forward",
	"net/ipv4/ip_local_port_range", "net/ipv4/ip_nonlocal_bind",
	"net/ipv4/ping_group_range",    "net/ipv4/ip_unprivileged_port_start",
	"net/ipv4/tcp_fin_timeout",     "net/ipv4/tcp_keepalive_intvl",
	"net/ipv4/tcp_keepalive_time",  "net/ipv4/tcp_keepalive_probes",
	"net/ipv6/conf/all/forwarding",
};
static_assert(ARRAY_LEN(of_all) == PARAMETERS_ALL, "one value each");

const char *parameters_link_key(size_t i)
{
	return of_link[i].key;
}

const char *parameters_key(size_t i)
{
	return of_all[i];
}

static int open_sys(void)
{
	return open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool read_one(int sys, size_t i, const char *link, int32_t *out)
{
	char path[96], text[PARAMETER_TEXT];
	struct err ignored;
	int64_t value;

	/* "ipv4", and the name with its slash */
	(void)snprintf(path, sizeof(path), "net/%.4s/conf/%.15s%s", of_link[i].key, link,
		       of_link[i].key + 4);
	if (file_read_line(sys, path, text, sizeof(text), &ignored) < 0 ||
	    str_to_i64(text, INT32_MIN, INT32_MAX, path, &value, &ignored) < 0)
		return false;
	*out = (int32_t)value;
	return true;
}

static void read_link(int sys, const char *name, int32_t out[PARAMETERS_LINK])
{
	for (size_t i = 0; i < PARAMETERS_LINK; i++) {
		int32_t value, all;

		if (!read_one(sys, i, name, &value))
			continue;
		out[i] = value;
		if (of_link[i].or_all && read_one(sys, i, "all", &all) && all > value)
			out[i] = all;
	}
}

void parameters_read(struct parameters *out)
{
	OWN(fd) int sys = open_sys();
	struct err ignored;

	*out = (struct parameters){ .link = { 0 } };
	read_link(sys, "default", out->link);
	for (size_t i = 0; i < PARAMETERS_ALL; i++) {
		if (file_read_line(sys, of_all[i], out->all[i], sizeof(out->all[i]), &ignored) <
		    0)
			out->all[i][0] = '\0';
	}
}

void parameters_of_link(const char *name, const struct parameters *fresh,
			int32_t out[PARAMETERS_LINK])
{
	OWN(fd) int sys = open_sys();

	memcpy(out, fresh->link, sizeof(fresh->link));
	read_link(sys, name, out);
}

int parameters_of_fresh(struct parameters *out, struct err *e)
{
	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "a network namespace to compare with");
	parameters_read(out);
	/* inherited from the host's own, which often forwards; a guest's kernel begins without
	 */
	for (size_t i = 0; i < PARAMETERS_LINK; i++) {
		if (str_ends(of_link[i].key, "/forwarding"))
			out->link[i] = 0;
	}
	for (size_t i = 0; i < PARAMETERS_ALL; i++) {
		if (str_ends(of_all[i], "/ip_forward") || str_ends(of_all[i], "/forwarding"))
			(void)snprintf(out->all[i], sizeof(out->all[i]), "0");
	}
	return 0;
}

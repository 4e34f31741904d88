/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink for the link; a sysfs and a tmpfs that nobody else sees for its device. */
#include "net/macvtap.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/sys.h"
#include "wire/netlink.h"

int macvtap_add(int nl, int link, const char *name, uint32_t mtu, struct err *e)
{
	struct ifinfomsg m = { .ifi_family = AF_UNSPEC,
			       .ifi_flags = IFF_UP,
			       .ifi_change = IFF_UP };
	struct nl_request r;
	size_t info, data;

	nl_start(&r, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	nl_put_str(&r, IFLA_IFNAME, name);
	nl_put_u32(&r, IFLA_LINK, (uint32_t)link);
	nl_put_u32(&r, IFLA_MTU, mtu);
	info = nl_nest(&r, IFLA_LINKINFO);
	nl_put_str(&r, IFLA_INFO_KIND, "macvtap");
	data = nl_nest(&r, IFLA_INFO_DATA);
	nl_put_u32(&r, IFLA_MACVLAN_MODE, MACVLAN_MODE_PASSTHRU);
	nl_nest_end(&r, data);
	nl_nest_end(&r, info);
	return nl_call(nl, &r, NULL, NULL, e);
}

int macvtap_remove(int nl, const char *name, struct err *e)
{
	struct ifinfomsg m = { .ifi_family = AF_UNSPEC };
	struct nl_request r;

	nl_start(&r, RTM_DELLINK, NLM_F_ACK, &m, sizeof(m));
	nl_put_str(&r, IFLA_IFNAME, name);
	return nl_call(nl, &r, NULL, NULL, e);
}

/* A sysfs shows the devices of the namespace in which it is mounted. */
static int find_numbers(const char *name, dev_t *out, struct err *e)
{
	OWN(fd) int sysfs = sys_mount_detached("sysfs");
	OWN(free) char *text = NULL;
	unsigned long first, second;
	char path[64], *end;

	if (sysfs < 0)
		return err_sys(e, "mount a sysfs");
	(void)snprintf(path, sizeof(path), "class/macvtap/tap%u/dev", if_nametoindex(name));
	if (file_read(sysfs, path, sizeof(path), &text, NULL, e) < 0)
		return -1;
	first = strtoul(text, &end, 10);
	second = *end == ':' ? strtoul(end + 1, &end, 10) : 0;
	if (*end != '\n')
		return err_set(e, ERR_SYS, 0, "'%s' holds '%.32s'", path, text);
	*out = makedev((unsigned int)first, (unsigned int)second);
	return 0;
}

int macvtap_open(const char *name, int *out, struct err *e)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	OWN(fd) int dir = -1;
	OWN(fd) int fd = -1;
	dev_t numbers;

	if (find_numbers(name, &numbers, e) < 0)
		return err_wrap(e, "device of '%s'", name);
	dir = sys_mount_detached("tmpfs");
	if (dir < 0)
		return err_sys(e, "mount a tmpfs");
	if (mknodat(dir, "tap", S_IFCHR | 0600, numbers) < 0)
		return err_sys(e, "a node of '%s'", name);
	fd = openat(dir, "tap", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open the device of '%s'", name);
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		return err_sys(e, "set up the device of '%s'", name);
	*out = fd_take(&fd);
	return 0;
}

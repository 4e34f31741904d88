/* SPDX-License-Identifier: Apache-2.0 */
/* Ports as `-p` names them, and the arguments of passt. */
#include "net/user_net_args.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/user_net.h"

static const char *const places[] = { "/usr/bin/passt", "/usr/local/bin/passt",
				      "/opt/kata/bin/passt" };

/* ---- ports ---- */

static int port_number(const char *s, const char *whole, uint16_t *out, struct err *e)
{
	uint64_t n;

	if (str_to_u64(s, 1, 65535, "port", &n, e) < 0)
		return err_wrap(e, "'%.80s'", whole);
	*out = (uint16_t)n;
	return 0;
}

/* Cuts "/tcp" or "/udp" off the end. */
static int take_protocol(char *s, const char *whole, enum user_net_proto *out, struct err *e)
{
	char *slash = strrchr(s, '/');

	*out = USER_NET_TCP;
	if (!slash)
		return 0;
	if (strcasecmp(slash, "/udp") == 0)
		*out = USER_NET_UDP;
	else if (strcasecmp(slash, "/tcp") != 0)
		return err_set(e, ERR_INVALID, 0,
			       "'%.80s': protocol '%.16s' is neither tcp nor udp", whole,
			       slash + 1);
	*slash = '\0';
	return 0;
}

static bool is_address(const char *s)
{
	unsigned char raw[16];

	return inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1;
}

/* Cuts "addr:" off the front; *rest is what follows. */
static int take_address(char *s, const char *whole, char **addr, char **rest, struct err *e)
{
	char *end, *colon = strchr(s, ':');

	*addr = NULL;
	*rest = s;
	if (s[0] == '[') {
		end = strchr(s, ']');
		if (!end || end[1] != ':')
			return err_set(e, ERR_INVALID, 0,
				       "'%.80s': ']:' is missing behind the address", whole);
		*end = '\0';
		*addr = s + 1;
		*rest = end + 2;
	} else if (colon && strchr(colon + 1, ':')) {
		*colon = '\0';
		*addr = s;
		*rest = colon + 1;
	}
	if (*addr && !is_address(*addr))
		return err_set(e, ERR_INVALID, 0, "'%.80s': '%.64s' is no address", whole,
			       *addr);
	return 0;
}

int user_net_parse_port(const char *s, struct user_net_port *out, char **addr_out,
			struct err *e)
{
	OWN(free) char *copy = strdup(s);
	struct user_net_port p = { .proto = USER_NET_TCP };
	char *addr, *rest, *colon, *owned = NULL;

	if (!copy)
		return err_oom(e, "a port");
	if (take_protocol(copy, s, &p.proto, e) < 0 ||
	    take_address(copy, s, &addr, &rest, e) < 0)
		return -1;
	colon = strchr(rest, ':');
	if (!colon)
		return err_set(e, ERR_INVALID, 0,
			       "'%.80s': must be [ADDRESS:]HOST:GUEST[/tcp|/udp]", s);
	*colon = '\0';
	if (port_number(rest, s, &p.host_port, e) < 0 ||
	    port_number(colon + 1, s, &p.guest_port, e) < 0)
		return -1;
	if (addr) {
		owned = strdup(addr);
		if (!owned)
			return err_oom(e, "a port");
	}
	p.host_addr = owned;
	*out = p;
	*addr_out = owned;
	return 0;
}

/* ---- arguments ---- */

static int find_program(const char *configured, const char **out, struct err *e)
{
	if (configured && *configured) {
		*out = configured;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (access(places[i], X_OK) == 0) {
			*out = places[i];
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "passt is not installed (Debian package passt)");
}

static int add_port(const struct user_net_port *p, struct strv *argv, struct err *e)
{
	const char *addr = p->host_addr ? p->host_addr : "";

	if (p->host_port == 0 || p->guest_port == 0)
		return err_set(e, ERR_INVALID, 0, "port 0 cannot be published");
	if (*addr && !is_address(addr))
		return err_set(e, ERR_INVALID, 0, "'%.64s' is no address to publish a port on",
			       addr);
	if (strv_add(argv, p->proto == USER_NET_UDP ? "--udp-ports" : "--tcp-ports", e) < 0)
		return -1;
	return strv_addf(argv, e, "%s%s%u:%u", addr, *addr ? "/" : "", p->host_port,
			 p->guest_port);
}

static int add_pair(struct strv *argv, const char *option, const char *value, struct err *e)
{
	return strv_add(argv, option, e) < 0 ? -1 : strv_add(argv, value, e);
}

static int add_ipv4(const struct user_net_guest *g, struct strv *argv, struct err *e)
{
	if (!*g->ipv4)
		return strv_add(argv, "--ipv6-only", e);
	if (add_pair(argv, "--address", g->ipv4, e) < 0 ||
	    add_pair(argv, "--gateway", g->gateway4, e) < 0 ||
	    strv_add(argv, "--netmask", e) < 0 || strv_addf(argv, e, "%u", g->ipv4_prefix) < 0)
		return -1;
	return g->dns_count ? add_pair(argv, "--dns-forward", g->dns[0], e) : 0;
}

static int add_ipv6(const struct user_net_guest *g, struct strv *argv, struct err *e)
{
	if (!*g->ipv6)
		return *g->ipv4 ? strv_add(argv, "--ipv4-only", e) : 0;
	return add_pair(argv, "--address", g->ipv6, e) < 0
		       ? -1
		       : add_pair(argv, "--gateway", g->gateway6, e);
}

int user_net_args(const struct user_net_config *c, const struct user_net_guest *g,
		  struct strv *argv, struct err *e)
{
	static const char *const fixed[] = {
		"--foreground", "--stderr",   "--no-map-gw",       "--no-dhcp", "--no-dhcpv6",
		"--no-ra",      "--mac-addr", "02:6b:61:74:61:02", "--fd",      "3",
	};
	const char *program;

	if (find_program(c->program, &program, e) < 0 || strv_add(argv, program, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		if (strv_add(argv, fixed[i], e) < 0)
			return -1;
	}
	if (strv_add(argv, c->debug ? "--debug" : "--quiet", e) < 0 ||
	    add_ipv4(g, argv, e) < 0 || add_ipv6(g, argv, e) < 0)
		return -1;
	for (size_t i = 0; i < c->port_count; i++) {
		if (add_port(&c->ports[i], argv, e) < 0)
			return -1;
	}
	return 0;
}

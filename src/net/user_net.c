/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network "user": passt started, watched and ended.
 *
 * The guest has fixed addresses; passt is told them, so that they do not depend on the
 * host's, and --no-map-gw, so that no address of the guest's network means the host. Name
 * service goes through an address of its own (--dns-forward), which passt relays to the
 * host's resolver, also where that listens on loopback.
 *
 * passt says nothing when it is ready. So it is asked what every neighbour is asked, who has
 * the gateway's address: the answer comes from its event loop, after all ports are bound.
 */
#include "net/user_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/program.h"
#include "event/spawn.h"
#include "net/frame_relay.h"
#include "net/passt_version.h"
#include "net/user_net_args.h"
#include "vmm/console.h"
#include "vmm/vmm.h"

enum {
	PASST_FD = 3,
	DEFAULT_MTU = 65520,
	FILE_MAX_BYTES = 1 << 20,
	ARP_LEN = 42,
	END_MS = 2000,
	VERSION_MS = 10 * 1000, /* a busy host; without an answer it counts as old */
	VERSION_MAX = 4096,
};

static const uint8_t guest_mac[6] = { 0x02, 0x6b, 0x61, 0x74, 0x61, 0x15 };

struct user_net {
	struct loop *loop;
	struct child child;
	struct user_net_config c;
	struct user_net_guest guest;
	int fd;                    /* our end, then the machine's */
	struct frame_relay *relay; /* between the two */
	struct console messages;   /* what passt says: read as it comes, or passt would wait */
	bool ready, ending;
};

/* ---- what the host has ---- */

/* Whether a routing table of /proc has a default route that is not the loopback's. */
static bool has_default_route(const char *path, bool v6)
{
	OWN(free) char *text = NULL;
	char *line, *rest;
	struct err ignored;

	if (file_read(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL, &ignored) < 0)
		return false;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char name[32] = "", dest[40] = "", prefix[8] = "";

		if (v6 &&
		    sscanf(line, "%39s %7s %*s %*s %*s %*s %*s %*s %*s %31s", dest, prefix,
			   name) == 3 &&
		    str_eq(prefix, "00") && strspn(dest, "0") == strlen(dest) &&
		    strcmp(name, "lo") != 0)
			return true;
		if (!v6 && sscanf(line, "%31s %39s", name, dest) == 2 &&
		    str_eq(dest, "00000000") && strcmp(name, "lo") != 0)
			return true;
	}
	return false;
}

static void take_search(struct user_net_guest *g, const char *words)
{
	while (*words == ' ' || *words == '\t')
		words++;
	(void)str_quote(words, strcspn(words, "#;\r"), g->search, sizeof(g->search));
}

/* Whether there is a resolver at all, and its search list. */
static bool read_resolv_conf(const char *path, struct user_net_guest *g)
{
	OWN(free) char *text = NULL;
	char *line, *rest;
	struct err ignored;
	bool found = false;

	if (file_read(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL, &ignored) < 0)
		return false;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		struct in_addr a;
		char address[64];

		if (str_starts(line, "search"))
			take_search(g, line + strlen("search"));
		if (sscanf(line, "nameserver %63s", address) == 1 &&
		    inet_pton(AF_INET, address, &a) == 1)
			found = true;
	}
	return found;
}

static bool has_ipv4(void)
{
	return has_default_route("/proc/self/net/route", false);
}

static bool has_ipv6(void)
{
	return has_default_route("/proc/self/net/ipv6_route", true);
}

const char *user_net_address(void)
{
	if (has_ipv4())
		return USER_NET_IPV4;
	return has_ipv6() ? USER_NET_IPV6 : NULL;
}

static void fill_guest(struct user_net *n)
{
	struct user_net_guest *g = &n->guest;
	const char *resolv = n->c.resolv_conf ? n->c.resolv_conf : "/etc/resolv.conf";

	g->name = "eth0";
	memcpy(g->mac, guest_mac, sizeof(g->mac));
	g->mtu = n->c.mtu ? n->c.mtu : DEFAULT_MTU;
	if (has_ipv4()) {
		(void)snprintf(g->ipv4, sizeof(g->ipv4), "%s", USER_NET_IPV4);
		(void)snprintf(g->gateway4, sizeof(g->gateway4), "%s", USER_NET_GATEWAY4);
		g->ipv4_prefix = USER_NET_PREFIX4;
		if (read_resolv_conf(resolv, g))
			(void)snprintf(g->dns[g->dns_count++], sizeof(g->dns[0]), "%s",
				       USER_NET_DNS4);
		else
			log_warn(n->c.log,
				 "'%s' names no resolver with an IPv4 address: the "
				 "container resolves no names",
				 resolv);
	}
	if (!*g->ipv4 && has_ipv6())
		log_warn(n->c.log,
			 "the host has no IPv4 route: the container resolves no names");
	if (has_ipv6()) {
		(void)snprintf(g->ipv6, sizeof(g->ipv6), "%s", USER_NET_IPV6);
		(void)snprintf(g->gateway6, sizeof(g->gateway6), "%s", USER_NET_GATEWAY6);
		g->ipv6_prefix = USER_NET_PREFIX6;
	}
}

/* ---- what passt says ---- */

/* Its last own line, without what it says about the missing system log. */
static const char *last_words(struct user_net *n, char *out, size_t size)
{
	char text[CONSOLE_KEEP + 1];
	char *line, *rest, *last = NULL;

	(void)console_tail(&n->messages, text, sizeof(text));
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!str_starts(line, "Failed to send ") && *line)
			last = line;
	}
	return str_quote(last ? last : "it said nothing",
			 strlen(last ? last : "it said nothing"), out, size);
}

static void passt_ended(struct child *c)
{
	struct user_net *n = container_of(c, struct user_net, child);
	char words[200];
	struct err why;

	if (!n->ready || n->ending)
		return;
	console_drain(&n->messages);
	if (WIFSIGNALED(c->status))
		err_set(&why, ERR_PEER, 0, "passt was killed by signal %d",
			WTERMSIG(c->status));
	else
		err_set(&why, ERR_PEER, 0, "passt ended with status %d: %s",
			child_exit_code(c->status), last_words(n, words, sizeof(words)));
	if (n->c.lost)
		n->c.lost(&why, n->c.arg);
}

/* ---- readiness ---- */

/* "Who has the gateway?", in passt's framing: a length of 32 bits in front. */
static void arp_request(const struct user_net *n, uint8_t out[4 + ARP_LEN])
{
	static const uint8_t fixed[] = { 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1 };
	uint8_t *p = out + 4;

	memset(out, 0, 4 + ARP_LEN);
	out[3] = ARP_LEN;
	memset(p, 0xff, 6);
	memcpy(p + 6, n->guest.mac, 6);
	memcpy(p + 12, fixed, sizeof(fixed));
	memcpy(p + 22, n->guest.mac, 6);
	(void)inet_pton(AF_INET, USER_NET_IPV4, p + 28);
	(void)inet_pton(AF_INET, USER_NET_GATEWAY4, p + 38);
}

/* Reads frames until one is the answer. */
static int read_answer(struct user_net *n, int64_t deadline, struct err *e)
{
	uint8_t frame[2048];

	for (;;) {
		size_t have = 0, want = 4;

		while (have < want) {
			size_t got;

			if (fiber_read(n->loop, n->fd, frame + have, want - have, deadline,
				       &got, e) < 0)
				return -1;
			if (got == 0)
				return err_set(e, ERR_PEER, 0, "closed");
			have += got;
			if (have == 4 && want == 4) {
				want = 4 + ((size_t)frame[2] << 8 | frame[3]);
				if (frame[0] || frame[1] || want > sizeof(frame))
					return err_set(e, ERR_PEER, 0,
						       "passt sends a frame of odd length");
			}
		}
		if (want >= 4 + ARP_LEN && frame[4 + 12] == 0x08 && frame[4 + 13] == 0x06 &&
		    frame[4 + 21] == 2)
			return 0;
	}
}

static int wait_ready(struct user_net *n, int64_t deadline, struct err *e)
{
	uint8_t request[4 + ARP_LEN];
	char words[300];

	if (*n->guest.ipv4) {
		arp_request(n, request);
		if (fiber_write_all(n->loop, n->fd, request, sizeof(request), deadline, e) ==
			    0 &&
		    read_answer(n, deadline, e) == 0)
			return 0;
	} else if (*n->guest.ipv6) {
		/* without IPv4 nothing answers ARP: a passt that does not end at once is up */
		if (child_wait(&n->child, deadline_in(200), e) < 0 && e->kind == ERR_TIMEOUT)
			return 0;
	}
	if (e->kind == ERR_CANCELLED || e->kind == ERR_TIMEOUT)
		return err_wrap(e, "passt does not answer");
	(void)child_wait(&n->child, deadline, e);
	console_drain(&n->messages);
	return err_set(e, ERR_SYS, 0, "passt: %s", last_words(n, words, sizeof(words)));
}

/* ---- a passt that leaves handshakes open ---- */

/* As passt_version_of() has it; "" if it could not be asked. */
static void passt_version(struct user_net *n, struct child_reaper *r, const char *program,
			  char *out, size_t size)
{
	const char *const argv[] = { program, "--version", NULL };
	OWN(buf) struct buf said = BUF_INIT;
	struct err ignored;
	const char *text;
	bool well;
	int status;

	well = program_run(n->loop, r, argv, VERSION_MAX, deadline_in(VERSION_MS), &said,
			   &status, &ignored) == 0 &&
	       status == 0;
	text = buf_cstr(&said);
	text = text ? passt_version_of(text, well) : "";
	(void)snprintf(out, size, "%.*s", (int)strcspn(text, "\n"), text);
}

static bool publishes_tcp(const struct user_net_config *c)
{
	for (size_t i = 0; i < c->port_count; i++) {
		if (c->ports[i].proto == USER_NET_TCP)
			return true;
	}
	return false;
}

static bool is_any(const char *addr)
{
	return !addr || !*addr || str_eq(addr, "0.0.0.0") || str_eq(addr, "::");
}

static bool is_loopback(const char *addr)
{
	return str_starts(addr, "127.") || str_eq(addr, "::1");
}

/*
 * passt only warns when it cannot have a UDP port, and newer ones also where they have a TCP
 * port for one family alone: it is tried before.
 */
static int try_port(const struct user_net_port *p, int family, struct err *e)
{
	bool udp = p->proto == USER_NET_UDP;
	OWN(fd) int fd = socket(family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(p->host_port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(p->host_port) };
	bool any = !p->host_addr || !*p->host_addr;
	int one = 1, rc;

	if (fd < 0) /* a host without that family */
		return 0;
	/* connections that have ended do not count, listeners do */
	if (!udp)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET) {
		if (!any && inet_pton(AF_INET, p->host_addr, &v4.sin_addr) != 1)
			return 0;
		rc = bind(fd, (struct sockaddr *)&v4, sizeof(v4));
	} else {
		if (!any && inet_pton(AF_INET6, p->host_addr, &v6.sin6_addr) != 1)
			return 0;
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
		rc = bind(fd, (struct sockaddr *)&v6, sizeof(v6));
	}
	if (rc < 0 && errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT)
		return err_sys(e, "publish %s port %u", udp ? "UDP" : "TCP", p->host_port);
	return 0;
}

static int check_ports(struct user_net *n, struct child_reaper *r, const char *program,
		       struct err *e)
{
	char version[100], quoted[120];

	for (size_t i = 0; i < n->c.port_count; i++) {
		const struct user_net_port *p = &n->c.ports[i];
		bool any = is_any(p->host_addr);

		if (try_port(p, AF_INET, e) < 0 || try_port(p, AF_INET6, e) < 0)
			return -1;
		if (p->proto != USER_NET_UDP || (!any && !is_loopback(p->host_addr)))
			continue;
		passt_version(n, r, program, version, sizeof(version));
		if (!passt_is_older(version, "20240726"))
			continue;
		if (!any)
			return err_set(
				e, ERR_UNSUPPORTED, 0,
				"publish UDP port %u on '%.45s': '%s' brings no answers "
				"back to the host's loopback; use another address of the "
				"host, or a passt of July 2024 or newer",
				p->host_port, p->host_addr,
				str_quote(version, strlen(version), quoted, sizeof(quoted)));
		log_warn(n->c.log,
			 "UDP port %u is published on the host's addresses but for its "
			 "loopback, to which '%s' brings no answers back",
			 p->host_port,
			 str_quote(version, strlen(version), quoted, sizeof(quoted)));
	}
	return 0;
}

static bool completes_handshakes(struct user_net *n, struct child_reaper *r,
				 const char *program)
{
	char version[100], quoted[120];

	if (!publishes_tcp(&n->c))
		return false;
	passt_version(n, r, program, version, sizeof(version));
	if (!passt_leaves_handshakes(version))
		return false;
	log_info(n->c.log,
		 "published ports: %s leaves handshakes open, they are completed here",
		 str_quote(version, strlen(version), quoted, sizeof(quoted)));
	return true;
}

/* Puts the relay between the machine and passt. */
static int add_relay(struct user_net *n, struct child_reaper *r, const char *program,
		     struct err *e)
{
	struct frame_relay_ends ends = { .completes_handshakes =
						 completes_handshakes(n, r, program) };
	int p[2];

	if (fd_socketpair(p, e) < 0)
		return -1;
	ends.guest = p[1];
	ends.passt = fd_take(&n->fd);
	if (frame_relay_new(n->loop, &ends, n->c.lost, n->c.arg, &n->relay, e) < 0) {
		(void)close(p[0]);
		return -1;
	}
	n->fd = p[0];
	return 0;
}

/* ---- life ---- */

static int spawn_passt(struct user_net *n, struct child_reaper *r, struct strv *argv,
		       struct err *e)
{
	struct spawn sp = SPAWN_INIT;
	struct spawn_fd fds[1];
	OWN(fd) int theirs = -1;
	OWN(fd) int err_wr = -1;
	pid_t pid;
	int p[2];

	if (fd_socketpair(p, e) < 0)
		return -1;
	n->fd = p[0];
	theirs = p[1];
	if (fd_pipe(p, e) < 0)
		return -1;
	err_wr = p[1];
	if (console_init(&n->messages, n->loop, p[0], NULL, NULL, e) < 0 ||
	    fd_set_nonblock(n->fd, true, e) < 0)
		return -1;
	fds[0] = (struct spawn_fd){ .from = theirs, .to = PASST_FD };
	sp.argv = argv->v;
	sp.fds = fds;
	sp.fd_count = 1;
	sp.stderr_fd = err_wr;
	sp.new_session = true;
	sp.cgroup_procs = n->c.cgroup_procs;
	if (geteuid() == 0)
		sp.unshare_flags = CLONE_NEWPID; /* in the foreground it makes none */
	if (spawn_run(&sp, &pid, e) < 0)
		return -1;
	child_watch(r, &n->child, pid, passt_ended);
	return 0;
}

int user_net_start(struct loop *l, struct child_reaper *r, const struct user_net_config *c,
		   int64_t deadline, struct user_net **out, struct err *e)
{
	OWN(user_net) struct user_net *n = mem_new(struct user_net);
	OWN(strv) struct strv argv = { 0 };

	if (!n)
		return err_oom(e, "the network 'user'");
	n->loop = l;
	n->c = *c;
	n->fd = -1;
	fill_guest(n);
	if (!*n->guest.ipv4 && !*n->guest.ipv6)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"the host has no default route; use the network 'none' or give it one");
	if (user_net_args(c, &n->guest, &argv, e) < 0 || check_ports(n, r, argv.v[0], e) < 0 ||
	    spawn_passt(n, r, &argv, e) < 0)
		return -1;
	if (wait_ready(n, deadline, e) < 0 || add_relay(n, r, argv.v[0], e) < 0)
		return -1;
	n->ready = true;
	log_debug(c->log, "passt %d serves %s", (int)n->child.pid, n->guest.ipv4);
	*out = TAKE(n);
	return 0;
}

void user_net_free(struct user_net *n)
{
	struct err ignored;

	if (!n)
		return;
	n->ending = true;
	fd_close(&n->fd); /* passt ends by itself when its only client goes */
	frame_relay_free(TAKE(n->relay));
	if (n->child.reaper) {
		(void)child_kill(&n->child, SIGKILL, &ignored);
		if (fiber_self(n->loop))
			(void)child_wait(&n->child, deadline_in(END_MS), &ignored);
		child_unwatch(&n->child);
	}
	console_close(&n->messages);
	free(n);
}

void user_net_device(const struct user_net *n, struct vmm_device *out)
{
	*out = (struct vmm_device){ .kind = VMM_DEV_NET, .id = "net0" };
	out->net.stream_fd = n->fd;
	memcpy(out->net.mac, n->guest.mac, sizeof(out->net.mac));
}

void user_net_release_fd(struct user_net *n)
{
	fd_close(&n->fd);
}

const struct user_net_guest *user_net_guest(const struct user_net *n)
{
	return &n->guest;
}

pid_t user_net_pid(const struct user_net *n)
{
	return n->child.reaper && !n->child.exited ? n->child.pid : 0;
}

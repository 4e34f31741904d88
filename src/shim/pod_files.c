/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of /etc/hostname, /etc/hosts and /etc/resolv.conf, the latter as resolv.conf(5) says.
 */
#include "shim/pod_files.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "sandbox.pb-c.h"
#include "sandbox/sandbox.h"

#define LOCAL_HOSTS "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

/* Any other character would end the word or its line. */
static int check_words(const char *what, char *const *words, size_t count, struct err *e)
{
	char quoted[100];

	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(words[i]), good = 0;

		while (good < n && words[i][good] > ' ' && words[i][good] <= '~')
			good++;
		if (n == 0 || good < n)
			return err_set(e, ERR_INVALID, 0, "dns_config.%s[%zu] '%s': no word",
				       what, i, str_quote(words[i], n, quoted, sizeof(quoted)));
	}
	return 0;
}

/* None without words. */
static int add_line(struct buf *b, const char *key, char *const *words, size_t n, struct err *e)
{
	if (n && buf_puts(b, key, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (buf_printf(b, e, " %s", words[i]) < 0)
			return -1;
	}
	return n ? buf_puts(b, "\n", e) : 0;
}

static int add_lines(struct buf *b, const Containerd__Sandbox__DNSConfig *d, struct err *e)
{
	if (add_line(b, "search", d->searches, d->n_searches, e) < 0)
		return -1;
	for (size_t i = 0; i < d->n_servers; i++) {
		if (add_line(b, "nameserver", &d->servers[i], 1, e) < 0)
			return -1;
	}
	return add_line(b, "options", d->options, d->n_options, e);
}

static int resolv_conf_text(const Containerd__Sandbox__DNSConfig *d, struct arena *a,
			    const char **out, struct err *e)
{
	OWN(buf) struct buf b = { .limit = POD_FILE_MAX };

	if (check_words("servers", d->servers, d->n_servers, e) < 0 ||
	    check_words("searches", d->searches, d->n_searches, e) < 0 ||
	    check_words("options", d->options, d->n_options, e) < 0)
		return -1;
	if (add_lines(&b, d, e) < 0)
		return err_wrap(e, "dns_config");
	*out = buf_cstr(&b) ? arena_strdup(a, buf_cstr(&b)) : NULL;
	return *out ? 0 : err_oom(e, "resolv.conf");
}

/* A host that has none, or none of a sensible kind and size, is no reason to refuse a pod. */
static int copy_host_file(int etc_fd, const char *name, const char *otherwise, struct arena *a,
			  const char **out, struct err *e)
{
	OWN(free) char *text = NULL;

	if (file_read(etc_fd, name, POD_FILE_MAX, &text, NULL, e) < 0) {
		if (e->kind != ERR_NOT_FOUND && e->kind != ERR_INVALID)
			return err_wrap(e, "the host's /etc");
		log_warn(NULL, "the host's /etc/%s is not the pod's: %s", name, e->msg);
		*out = otherwise;
		return 0;
	}
	*out = arena_strdup(a, text);
	return *out ? 0 : err_oom(e, name);
}

int pod_files_make(const Containerd__Sandbox__PodSandboxConfig *p, const char *hostname,
		   int etc_fd, struct arena *a, struct pod_files *out, struct err *e)
{
	struct pod_files f = { 0 };

	f.hostname = arena_printf(a, "%s\n", hostname);
	if (!f.hostname)
		return err_oom(e, "hostname");
	if (copy_host_file(etc_fd, "hosts", LOCAL_HOSTS, a, &f.hosts, e) < 0)
		return -1;
	if (p->dns_config && resolv_conf_text(p->dns_config, a, &f.resolv_conf, e) < 0)
		return -1;
	/* one that says nothing is as none, for containerd too */
	if ((!f.resolv_conf || !*f.resolv_conf) &&
	    copy_host_file(etc_fd, "resolv.conf", NULL, a, &f.resolv_conf, e) < 0)
		return -1;
	*out = f;
	return 0;
}

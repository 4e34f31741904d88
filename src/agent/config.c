/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration: one table of words. */
#include "agent/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

static int set_log_level(struct agent_config *c, const char *v, struct err *e)
{
	if (!log_level_parse(v, &c->log_level))
		return err_set(e, ERR_INVALID, 0, "agent.log '%.32s': no such level", v);
	return 0;
}

static int set_port(const char *v, const char *what, uint32_t *out, struct err *e)
{
	uint64_t n;

	if (str_to_u64(v, 0, UINT32_MAX - 1, what, &n, e) < 0)
		return -1;
	*out = (uint32_t)n;
	return 0;
}

static int set_log_vport(struct agent_config *c, const char *v, struct err *e)
{
	return set_port(v, "agent.log_vport", &c->log_vport, e);
}

static int set_console_vport(struct agent_config *c, const char *v, struct err *e)
{
	return set_port(v, "agent.debug_console_vport", &c->debug_console_vport, e);
}

static int set_pipe_size(struct agent_config *c, const char *v, struct err *e)
{
	return set_port(v, "agent.container_pipe_size", &c->container_pipe_size, e);
}

/* "agent.debug_console", "=true", "=1", "=false", "=0" */
static int set_console(struct agent_config *c, const char *v, struct err *e)
{
	bool on = !*v || str_eq(v, "true") || str_eq(v, "1");

	if (!on && !str_eq(v, "false") && !str_eq(v, "0"))
		return err_set(e, ERR_INVALID, 0, "agent.debug_console '%.32s'", v);
	c->debug_console = on;
	return 0;
}

static int set_text(char *out, size_t size, const char *v, const char *what, struct err *e)
{
	int n = snprintf(out, size, "%s", v);

	if (n <= 0 || (size_t)n >= size)
		return err_set(e, ERR_INVALID, 0, "%s '%.64s'", what, v);
	return 0;
}

static int set_server(struct agent_config *c, const char *v, struct err *e)
{
	return set_text(c->server_addr, sizeof(c->server_addr), v, "agent.server_addr", e);
}

static int set_cgroup_root(struct agent_config *c, const char *v, struct err *e)
{
	return set_text(c->cgroup_root, sizeof(c->cgroup_root), v, "cgroup root", e);
}

static int set_seconds(const char *v, const char *what, int64_t *out_ms, struct err *e)
{
	uint64_t n;

	if (str_to_u64(v, 1, 24 * 3600, what, &n, e) < 0)
		return -1;
	*out_ms = (int64_t)n * 1000;
	return 0;
}

static int set_hotplug(struct agent_config *c, const char *v, struct err *e)
{
	return set_seconds(v, "agent.hotplug_timeout", &c->hotplug_timeout_ms, e);
}

static int set_launch(struct agent_config *c, const char *v, struct err *e)
{
	return set_seconds(v, "agent.launch_process_timeout", &c->launch_timeout_ms, e);
}

static int set_no_boot(struct agent_config *c, const char *v, struct err *e)
{
	(void)v;
	(void)e;
	c->boot = false;
	return 0;
}

typedef int (*set_fn)(struct agent_config *c, const char *v, struct err *e);

static const struct row {
	const char *word;   /* on the kernel's command line */
	const char *option; /* on ours */
	const char *env;
	set_fn set;
	bool flag; /* takes no value on our command line */
} rows[] = {
	{ "agent.log", "--log-level", "KATA_AGENT_LOG_LEVEL", set_log_level, false },
	{ "agent.log_vport", NULL, NULL, set_log_vport, false },
	{ "agent.debug_console", NULL, NULL, set_console, false },
	{ "agent.debug_console_vport", NULL, NULL, set_console_vport, false },
	{ "agent.server_addr", "--server-addr", "KATA_AGENT_SERVER_ADDR", set_server, false },
	{ "agent.hotplug_timeout", "--hotplug-timeout", NULL, set_hotplug, false },
	{ "agent.launch_process_timeout", NULL, NULL, set_launch, false },
	{ "agent.container_pipe_size", NULL, NULL, set_pipe_size, false },
	{ NULL, "--cgroup-root", NULL, set_cgroup_root, false },
	{ NULL, "--no-boot", NULL, set_no_boot, true },
};

void agent_config_init(struct agent_config *c)
{
	*c = (struct agent_config){
		.log_level = LOG_INFO,
		.server_addr = "vsock://-1:1024",
		.cgroup_root = "/sys/fs/cgroup",
		.hotplug_timeout_ms = 20 * 1000,
		.launch_timeout_ms = 30 * 1000,
		.boot = true,
	};
}

static int take_word(struct agent_config *c, const char *word, struct err *e)
{
	size_t n = strcspn(word, "=");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *name = rows[i].word;

		if (name && strlen(name) == n && memcmp(name, word, n) == 0)
			return rows[i].set(c, word[n] ? word + n + 1 : "", e);
	}
	return 0;
}

int agent_config_cmdline(struct agent_config *c, const char *text, size_t len, struct err *e)
{
	const char *p = text, *end = text + len;
	struct err first = ERR_INIT, one;

	while (p < end) {
		char word[256];
		size_t n = 0;

		while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\0'))
			p++;
		while (p + n < end && !memchr(" \n\t", p[n], 4))
			n++;
		if (n && n < sizeof(word)) {
			memcpy(word, p, n);
			word[n] = '\0';
			/* a bad word must not keep the good ones from being heard */
			if (take_word(c, word, &one) < 0 && first.kind == ERR_NONE)
				first = one;
		}
		p += n;
	}
	if (first.kind == ERR_NONE)
		return 0;
	*e = first;
	return -1;
}

int agent_config_env(struct agent_config *c, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *v = rows[i].env ? getenv(rows[i].env) : NULL;

		if (v && *v && rows[i].set(c, v, e) < 0)
			return err_wrap(e, "%s", rows[i].env);
	}
	return 0;
}

static const struct row *find_option(const char *s)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(rows[i].option, s))
			return &rows[i];
	}
	return NULL;
}

int agent_config_args(struct agent_config *c, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		const struct row *r = find_option(argv[i]);

		if (!r)
			return err_set(e, ERR_INVALID, 0, "unknown argument '%.64s'", argv[i]);
		if (r->flag) {
			(void)r->set(c, "", e);
			continue;
		}
		if (i + 1 >= argc)
			return err_set(e, ERR_INVALID, 0, "%s needs a value", argv[i]);
		if (r->set(c, argv[++i], e) < 0)
			return -1;
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kata-agent: PID 1 of the guest. Boots the machine, serves the engine, powers off. The same
 * program is the stage of a container's process (`kata-agent init`) and /sbin/modprobe.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>

#include "agent/boot.h"
#include "agent/debug_console.h"
#include "agent/fault.h"
#include "agent/guest_log.h"
#include "agent/modules.h"
#include "agent/pidns.h"
#include "agent/sandbox.h"
#include "agent/service.h"
#include "agent/stage.h"
#include "agent/transport.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "build_config.h"
#include "wire/ttrpc.h"

struct agent {
	struct sandbox sandbox;
	struct ttrpc_service services[SERVICE_COUNT];
	struct transport_config transport;
	bool failed;
};

static void connection_lost(const struct err *why, void *arg)
{
	struct agent *a = arg;

	log_warn(&a->sandbox.log, "the engine is gone (%s): powering off", why->msg);
	loop_stop(a->sandbox.loop);
}

static void serve(void *arg)
{
	struct agent *a = arg;
	struct err e;

	guest_log_start(&a->sandbox);
	if (transport_serve(&a->transport, &e) < 0) {
		log_error(NULL, "%s: %s", a->transport.address, e.msg);
		a->failed = true;
		loop_stop(a->sandbox.loop);
		return;
	}
	debug_console_start(&a->sandbox);
	log_info(NULL, "kata-agent " KATA_VERSION " serves %s", a->transport.address);
}

static int read_cmdline(struct agent_config *c, struct err *e)
{
	OWN(free) char *text = NULL;
	size_t len;

	if (file_read(AT_FDCWD, "/proc/cmdline", 64 * 1024, &text, &len, e) < 0)
		return -1;
	return agent_config_cmdline(c, text, len, e);
}

static int run(struct agent *a, const struct agent_config *config, struct err *e)
{
	struct loop *loop;

	if (loop_new(&loop, e) < 0 || sandbox_init(&a->sandbox, loop, config, e) < 0)
		return -1;
	service_table(&a->sandbox, a->services);
	a->transport = (struct transport_config){
		.loop = loop,
		.address = a->sandbox.config.server_addr,
		.services = a->services,
		.service_count = SERVICE_COUNT,
		.lost = connection_lost,
		.arg = a,
	};
	if (fiber_spawn(loop, "serve", serve, a, NULL, e) < 0)
		return -1;
	return loop_run(loop, e);
}

/* In the machine: whatever happens, it ends with power-off. */
static _Noreturn void machine_main(struct agent *a, struct agent_config *config)
{
	struct err e = ERR_INIT;

	fault_report();
	if (boot_set_up(&e) < 0) {
		log_error(NULL, "boot: %s", e.msg);
		boot_power_off();
	}
	if (read_cmdline(config, &e) < 0 || agent_config_env(config, &e) < 0)
		log_error(NULL, "%s", e.msg);
	log_set_level(config->log_level);
	if (run(a, config, &e) < 0)
		log_error(NULL, "%s", e.msg);
	boot_power_off();
}

/* Outside of a machine (tests): namespaces are ready, and the end is an exit. */
static int plain_main(struct agent *a, struct agent_config *config, int argc, char **argv)
{
	struct err e = ERR_INIT;

	if (agent_config_env(config, &e) < 0 || agent_config_args(config, argc, argv, &e) < 0) {
		(void)fprintf(stderr, "kata-agent: %s\n", e.msg);
		return 2;
	}
	if (config->boot) {
		(void)fprintf(stderr,
			      "kata-agent: this is the first process of a virtual machine; "
			      "elsewhere it needs --no-boot\n");
		return 2;
	}
	log_set_level(config->log_level);
	/* orphans of containers that share this pid namespace are ours to reap */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (run(a, config, &e) < 0) {
		log_error(NULL, "%s", e.msg);
		return 1;
	}
	return a->failed;
}

int main(int argc, char **argv)
{
	struct log_config log = { .level = LOG_INFO, .fd = STDERR_FILENO, .source = "agent" };
	struct agent_config config;
	struct agent *a;

	if (argc == 2 && str_eq(argv[0], STAGE_ARGV0) && str_eq(argv[1], STAGE_ARGV1))
		return stage_main();
	if (argc == 1 && str_eq(argv[0], PIDNS_ARGV0) && getpid() == 1)
		pidns_main();
	if (argc > 0 && str_ends(argv[0], "modprobe"))
		return modprobe_main(argc, argv);
	if (argc == 2 && str_eq(argv[1], "--version")) {
		(void)printf("kata-agent version " KATA_VERSION "\n");
		return 0;
	}
	log_setup(&log);
	(void)signal(SIGPIPE, SIG_IGN);
	agent_config_init(&config);
	a = calloc(1, sizeof(*a));
	if (!a)
		return 1;
	/* the kernel starts /init with words of its command line that it does not know */
	if (getpid() == 1 &&
	    (argc < 1 || str_eq(argv[0], "/init") || str_eq(argv[0], "/sbin/init")))
		machine_main(a, &config);
	return plain_main(a, &config, argc, argv);
}

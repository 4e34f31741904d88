/* SPDX-License-Identifier: Apache-2.0 */
/* The names of signal(7), x86 and ARM. */
#include "cli/signal_name.h"

#include <ctype.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

static const struct {
	const char *name;
	int number;
} signals[] = {
	{ "HUP", SIGHUP },   { "INT", SIGINT },     { "QUIT", SIGQUIT },
	{ "ILL", SIGILL },   { "TRAP", SIGTRAP },   { "ABRT", SIGABRT },
	{ "IOT", SIGIOT },   { "BUS", SIGBUS },     { "FPE", SIGFPE },
	{ "KILL", SIGKILL }, { "USR1", SIGUSR1 },   { "SEGV", SIGSEGV },
	{ "USR2", SIGUSR2 }, { "PIPE", SIGPIPE },   { "ALRM", SIGALRM },
	{ "TERM", SIGTERM }, { "STKFLT", 16 },      { "CHLD", SIGCHLD },
	{ "CONT", SIGCONT }, { "STOP", SIGSTOP },   { "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN }, { "TTOU", SIGTTOU },   { "URG", SIGURG },
	{ "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ },   { "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF }, { "WINCH", SIGWINCH }, { "IO", SIGIO },
	{ "POLL", SIGIO },   { "PWR", SIGPWR },     { "SYS", SIGSYS },
};

enum {
	RTMIN = 34, /* as programs see it: the C library keeps two of the kernel's for itself */
	RTMAX = 64
};

/* RTMIN, RTMIN+n, RTMAX, RTMAX-n: as images of systemd name theirs. */
static int parse_real_time(const char *name, int *out)
{
	bool up = strncasecmp(name, "RTMIN", 5) == 0;
	uint64_t n = 0;
	struct err ignored;

	if (!up && strncasecmp(name, "RTMAX", 5) != 0)
		return -1;
	name += 5;
	if (*name && (*name != (up ? '+' : '-') ||
		      str_to_u64(name + 1, 0, RTMAX - RTMIN, "n", &n, &ignored) < 0))
		return -1;
	*out = up ? RTMIN + (int)n : RTMAX - (int)n;
	return 0;
}

int signal_parse(const char *s, int *out, struct err *e)
{
	const char *name = strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s;
	uint64_t n;

	if (isdigit((unsigned char)*s)) {
		if (str_to_u64(s, 1, 64, "signal", &n, e) < 0)
			return -1;
		*out = (int)n;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (strcasecmp(signals[i].name, name) == 0) {
			*out = signals[i].number;
			return 0;
		}
	}
	if (parse_real_time(name, out) == 0)
		return 0;
	return err_set(e, ERR_INVALID, 0, "signal '%.32s' does not exist", s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The names of signal(7), x86 and ARM. */
#include "cli/signal_name.h"

#include <ctype.h>
#include <signal.h>
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
	{ "RTMIN", 34 },     { "RTMAX", 64 },
};

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
	return err_set(e, ERR_INVALID, 0, "signal '%.32s' does not exist", s);
}

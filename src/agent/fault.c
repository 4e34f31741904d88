/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fault.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/own.h"

enum {
	STACK = 64 * 1024
};

static char stack[STACK];

/* Nothing else may be called here (signal-safety(7)). */
static void put_hex(char *out, uint64_t v)
{
	for (int i = 0; i < 16; i++)
		out[i] = "0123456789abcdef"[v >> (60 - 4 * i) & 15];
}

static uint64_t code_address(const ucontext_t *uc)
{
#if defined(__x86_64__)
	return (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uint64_t)uc->uc_mcontext.pc;
#endif
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	static char line[] = "kata-agent: signal 00 at ................ for ................\n";
	enum {
		SIGNAL = sizeof("kata-agent: signal ") - 1,
		CODE = SIGNAL + sizeof("00 at ") - 1,
		DATA = CODE + 16 + sizeof(" for ") - 1
	};

	line[SIGNAL] = (char)('0' + signal / 10);
	line[SIGNAL + 1] = (char)('0' + signal % 10);
	put_hex(line + CODE, code_address(context));
	put_hex(line + DATA, (uint64_t)(uintptr_t)info->si_addr);
	(void)!write(STDERR_FILENO, line, sizeof(line) - 1);
	/* back to the instruction, with the default action by now */
}

void fault_report(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_sigaction = on_fault,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND };
	stack_t alternative = { .ss_sp = stack, .ss_size = sizeof(stack) };

	if (sigaltstack(&alternative, NULL) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)sigaction(signals[i], &sa, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest says without being asked, in our log: its agent's lines and, where
 * [hypervisor] enable_debug asks for it, its console's. Each line is quoted and never more than
 * information, however alarming: the guest is not to write warnings of ours.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct sandbox;

/* How many more lines of a source may be logged; a guest that says more loses them. */
struct line_budget {
	unsigned burst, each;  /* at once, and what comes back with each */
	int64_t period_ms;     /* of these */
	unsigned left, missed; /* lines; refused since it was last told */
	int64_t filled_at;     /* 0: never */
};

/* One line at a monotonic time in ms: whether it may pass. */
bool line_budget_take(struct line_budget *b, int64_t now);
/* How many were refused, if it is time to tell, else 0: after the first that passes again. */
unsigned line_budget_missed(struct line_budget *b);

/*
 * Copies the agent's log from its port into ours. Warnings and errors are shown, a hundred an
 * hour; the rest if `debug`, else it is for our own debugging.
 */
int guest_log_follow(struct sandbox *s, const char *port, bool debug, struct err *e);

/* The console as the monitor gives it: a vmm_console_fn whose `arg` is a struct guest_console.
 */
struct guest_console;
int guest_console_new(struct sandbox *s, struct guest_console **out, struct err *e);
void guest_console_free(struct guest_console *c);
void guest_console_text(const char *p, size_t n, void *arg);

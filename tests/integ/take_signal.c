/* SPDX-License-Identifier: Apache-2.0 */
/* A program that blocks SIGTERM and waits for it, as an init does. Status 5 when it comes. */
#include <signal.h>
#include <unistd.h>

int main(void)
{
	sigset_t set;
	int sig;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	return sigwait(&set, &sig) == 0 ? 5 : 1;
}

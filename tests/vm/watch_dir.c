/* SPDX-License-Identifier: Apache-2.0 */
/* Says "ready", then the first name that something in the directory is renamed to; for
 * test_pods.py. */
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char events[4096];
	const struct inotify_event *ev = (const void *)events;
	int in = inotify_init();

	if (argc != 2 || in < 0 || inotify_add_watch(in, argv[1], IN_MOVED_TO) < 0)
		return 1;
	(void)printf("ready\n");
	(void)fflush(stdout);
	if (read(in, events, sizeof(events)) <= 0)
		return 1;
	(void)printf("%s\n", ev->name);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Answers every datagram that comes to port 85 with itself; for test_network.py. */
#include <arpa/inet.h>
#include <sys/socket.h>

enum {
	PORT = 85
};

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char b[100];

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 1;
	for (;;) {
		socklen_t len = sizeof(a);
		ssize_t n = recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&a, &len);

		if (n > 0)
			(void)sendto(fd, b, (size_t)n, 0, (struct sockaddr *)&a, len);
	}
}

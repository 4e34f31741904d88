/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between the guest and passt: handshakes are completed, and frames dropped. */
#include "unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "net/frame_filter.h"
#include "net/frame_relay.h"
#include "net/handshake.h"

/* 10.0.2.15:80 to 10.0.2.2:48570, sequence 3e284ee1, acknowledging b656e08d, as seen. */
static const uint8_t syn_ack4[] = {
	0x02, 0x6b, 0x61, 0x74, 0x61, 0x02, 0x02, 0x6b, 0x61, 0x74, 0x61, 0x15, 0x08,
	0x00, 0x45, 0x00, 0x00, 0x30, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x22, 0xb8,
	0x0a, 0x00, 0x02, 0x0f, 0x0a, 0x00, 0x02, 0x02, 0x00, 0x50, 0xbd, 0xba, 0x3e,
	0x28, 0x4e, 0xe1, 0xb6, 0x56, 0xe0, 0x8d, 0x70, 0x12, 0xff, 0xc8, 0x90, 0x21,
	0x00, 0x00, 0x02, 0x04, 0xff, 0xd7, 0x01, 0x03, 0x03, 0x07,
};
/* What passt 2023-03-09 sends once the client has spoken, but for the identification. */
static const uint8_t ack4[] = {
	0x02, 0x6b, 0x61, 0x74, 0x61, 0x15, 0x02, 0x6b, 0x61, 0x74, 0x61, 0x02, 0x08, 0x00,
	0x45, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x00, 0xff, 0x06, 0xa3, 0xbf, 0x0a, 0x00,
	0x02, 0x02, 0x0a, 0x00, 0x02, 0x0f, 0xbd, 0xba, 0x00, 0x50, 0xb6, 0x56, 0xe0, 0x8d,
	0x3e, 0x28, 0x4e, 0xe2, 0x50, 0x10, 0x01, 0x00, 0xb4, 0xca, 0x00, 0x00,
};

static void test_answer4(void **state)
{
	uint8_t out[HANDSHAKE_ANSWER_MAX];
	size_t len = 0;

	(void)state;
	assert_true(handshake_answer(syn_ack4, sizeof(syn_ack4), out, &len));
	assert_int_equal(len, sizeof(ack4));
	assert_memory_equal(out, ack4, sizeof(ack4));
}

/* The sum over pseudo header and segment must come out as nothing (RFC 9293, 3.1). */
static unsigned checksum6(const uint8_t *ip)
{
	uint32_t sum = 6 + 20;

	for (size_t i = 8; i < 60; i += 2)
		sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void test_answer6(void **state)
{
	uint8_t frame[14 + 40 + 20] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd, 0x60
	};
	uint8_t out[HANDSHAKE_ANSWER_MAX];
	size_t len = 0;

	(void)state;
	frame[14 + 6] = 6;
	memset(frame + 14 + 8, 0xab, 16);
	memset(frame + 14 + 24, 0xcd, 16);
	memcpy(frame + 54, syn_ack4 + 34, 20);
	assert_true(handshake_answer(frame, sizeof(frame), out, &len));
	assert_int_equal(len, sizeof(frame));
	assert_int_equal(out[14 + 8], 0xcd);
	assert_int_equal(out[14 + 24], 0xab);
	assert_memory_equal(out + 54, ack4 + 34, 12);
	assert_int_equal(checksum6(out + 14), 0);
}

/* Any other frame, and every cut of one, has no answer. */
static void test_no_answer(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} rows[] = {
		{ 12, 0x88 }, { 14, 0x65 }, { 14, 0x44 }, { 14, 0x4f }, { 20, 0x20 }, { 21, 1 },
		{ 23, 17 },   { 47, 0x10 }, { 47, 0x02 }, { 47, 0x16 }, { 47, 0x13 },
	};
	uint8_t out[HANDSHAKE_ANSWER_MAX], frame[sizeof(syn_ack4)];
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memcpy(frame, syn_ack4, sizeof(frame));
		frame[rows[i].at] = rows[i].value;
		if (handshake_answer(frame, sizeof(frame), out, &len))
			fail_msg("row %zu has an answer", i);
	}
	for (size_t i = 0; i < 54; i++)
		assert_false(handshake_answer(syn_ack4, i, out, &len));
}

/* ---- the relay between two sockets ---- */

struct pair {
	struct loop *loop;
	struct frame_relay *relay;
	int guest, passt; /* our ends */
	unsigned losses;
	char why[120];
};

static void on_lost(const struct err *why, void *arg)
{
	struct pair *p = arg;

	p->losses++;
	(void)snprintf(p->why, sizeof(p->why), "%.100s", why->msg);
}

static void put_frame(int fd, const uint8_t *frame, size_t len)
{
	const uint8_t head[] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16),
				 (uint8_t)(len >> 8), (uint8_t)len };
	struct err e;

	assert_ok(fd_write_all(fd, head, sizeof(head), &e), &e);
	assert_ok(fd_write_all(fd, frame, len, &e), &e);
}

/* Reads one frame; -1 at the end of the stream. */
static int get_frame(struct pair *p, int fd, uint8_t *out, size_t size)
{
	uint8_t head[4];
	size_t len = sizeof(head), have = 0, got;
	struct err e;

	while (have < sizeof(head)) {
		assert_ok(fiber_read(p->loop, fd, head + have, 4 - have, deadline_in(5000),
				     &got, &e),
			  &e);
		if (got == 0)
			return -1;
		have += got;
	}
	len = (size_t)head[2] << 8 | head[3];
	assert_true(len <= size);
	for (have = 0; have < len; have += got)
		assert_ok(fiber_read(p->loop, fd, out + have, len - have, deadline_in(5000),
				     &got, &e),
			  &e);
	return (int)len;
}

static void with_relay(void (*body)(void *))
{
	struct pair p = { .guest = -1 };
	int a[2], b[2];
	struct err e;

	assert_ok(loop_new(&p.loop, &e), &e);
	assert_ok(fd_socketpair(a, &e), &e);
	assert_ok(fd_socketpair(b, &e), &e);
	p.guest = a[0];
	p.passt = b[0];
	assert_ok(fd_set_nonblock(p.guest, true, &e), &e);
	assert_ok(fd_set_nonblock(p.passt, true, &e), &e);
	assert_ok(frame_relay_new(p.loop, &(struct frame_relay_ends){ a[1], b[1], true },
				  on_lost, &p, &p.relay, &e),
		  &e);
	assert_ok(fiber_main(p.loop, body, &p, &e), &e);
	frame_relay_free(p.relay);
	fd_close(&p.guest);
	fd_close(&p.passt);
	loop_free(p.loop);
}

static void answered(void *arg)
{
	struct pair *p = arg;
	uint8_t frame[200];

	put_frame(p->guest, syn_ack4, sizeof(syn_ack4));
	assert_int_equal(get_frame(p, p->passt, frame, sizeof(frame)), sizeof(syn_ack4));
	assert_memory_equal(frame, syn_ack4, sizeof(syn_ack4));
	assert_int_equal(get_frame(p, p->guest, frame, sizeof(frame)), sizeof(ack4));
	assert_memory_equal(frame, ack4, sizeof(ack4));
	put_frame(p->passt, ack4, sizeof(ack4));
	assert_int_equal(get_frame(p, p->guest, frame, sizeof(frame)), sizeof(ack4));
}

/* An answer never lands within a frame that passt has begun. */
static void in_between(void *arg)
{
	static const uint8_t head[] = { 0, 0, 0, 100 };
	struct pair *p = arg;
	uint8_t frame[200], half[50] = { 7 };
	struct err e;

	assert_ok(fd_write_all(p->passt, head, sizeof(head), &e), &e);
	assert_ok(fd_write_all(p->passt, half, sizeof(half), &e), &e);
	assert_ok(fiber_sleep(p->loop, 20, &e), &e);
	put_frame(p->guest, syn_ack4, sizeof(syn_ack4));
	assert_int_equal(get_frame(p, p->guest, frame, sizeof(frame)), sizeof(ack4));
	assert_ok(fd_write_all(p->passt, half, sizeof(half), &e), &e);
	assert_int_equal(get_frame(p, p->guest, frame, sizeof(frame)), 100);
	assert_int_equal(frame[0], 7);
	assert_int_equal(frame[50], 7);
}

static void broken(void *arg)
{
	static const uint8_t bad[] = { 0, 2, 0, 0, 1 };
	struct pair *p = arg;
	uint8_t frame[200];
	struct err e;

	assert_ok(fd_write_all(p->guest, bad, sizeof(bad), &e), &e);
	assert_int_equal(get_frame(p, p->passt, frame, sizeof(frame)), -1);
	assert_int_equal(p->losses, 1);
	assert_string_equal(p->why, "the guest's network device sends a frame of 131072 bytes");
}

static void ends(void *arg)
{
	struct pair *p = arg;
	uint8_t frame[200];

	fd_close(&p->guest);
	assert_int_equal(get_frame(p, p->passt, frame, sizeof(frame)), -1);
	assert_int_equal(p->losses, 0);
}

/* A passt that takes nothing makes the guest wait, and costs no more than the queue. */
static void blocked(void *arg)
{
	static uint8_t frame[60000] = { [12] = 0x08, [13] = 0x06 };
	struct pair *p = arg;
	size_t sent = 0;
	struct err e;

	for (int idle = 0; idle < 5;) {
		const uint8_t head[] = { 0, 0, sizeof(frame) >> 8, sizeof(frame) & 0xff };
		struct pollfd w = { .fd = p->guest, .events = POLLOUT };

		if (poll(&w, 1, 0) != 1) {
			idle++;
			assert_ok(fiber_sleep(p->loop, 20, &e), &e);
			continue;
		}
		idle = 0;
		assert_ok(fiber_write_all(p->loop, p->guest, head, sizeof(head),
					  deadline_in(200), &e),
			  &e);
		if (fiber_write_all(p->loop, p->guest, frame, sizeof(frame), deadline_in(200),
				    &e) < 0)
			break;
		sent += sizeof(frame);
		assert_true(sent < 4 << 20);
	}
	assert_true(sent > 100000);
}

/* What passt must not see does not hold up what is behind it; nothing of passt's is looked at.
 */
static void filtered(void *arg)
{
	uint8_t bad[60] = { [12] = 0x08, [13] = 0x00, [26] = 10, [30] = 127 };
	struct pair *p = arg;
	uint8_t frame[200];

	put_frame(p->guest, bad, sizeof(bad));
	put_frame(p->guest, ack4, sizeof(ack4));
	assert_int_equal(get_frame(p, p->passt, frame, sizeof(frame)), sizeof(ack4));
	put_frame(p->passt, bad, sizeof(bad));
	assert_int_equal(get_frame(p, p->guest, frame, sizeof(frame)), sizeof(bad));
}

static void test_relay(void **state)
{
	(void)state;
	with_relay(answered);
	with_relay(in_between);
	with_relay(broken);
	with_relay(ends);
	with_relay(blocked);
	with_relay(filtered);
}

/* Addresses as text, and whether a frame to the one from the other goes to passt. */
static void test_filter(void **state)
{
	static const struct {
		const char *from, *to;
		bool passes;
	} rows[] = {
		{ "10.0.2.15", "198.51.100.1", true },
		{ "10.0.2.15", "10.0.2.2", true },
		{ "10.0.2.15", "255.255.255.255", true },
		{ "0.0.0.0", "255.255.255.255", true }, /* DHCP */
		{ "10.0.2.15", "127.0.0.1", false },
		{ "10.0.2.15", "127.255.255.254", false },
		{ "10.0.2.15", "128.0.0.1", true },
		{ "10.0.2.15", "0.0.0.0", false },
		{ "10.0.2.15", "0.1.2.3", false },
		{ "10.0.2.15", "1.0.0.0", true },
		{ "127.0.0.1", "198.51.100.1", false },
		{ "0.0.0.1", "198.51.100.1", false },
		{ "fd6b::15", "2001:db8::1", true },
		{ "fd6b::15", "fe80::1", true },
		{ "::", "ff02::1:ff00:15", true }, /* duplicate address detection */
		{ "fd6b::15", "::1", false },
		{ "fd6b::15", "::", false },
		{ "fd6b::15", "::127.0.0.1", false },
		{ "fd6b::15", "::ffff:127.0.0.1", false },
		{ "fd6b::15", "::ffff:198.51.100.1", false },
		{ "fd6b::15", "::1:0:0", true },
		{ "::1", "2001:db8::1", false },
		{ "::ffff:127.0.0.1", "2001:db8::1", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool six = strchr(rows[i].to, ':');
		uint8_t frame[54] = { [12] = six ? 0x86 : 0x08, [13] = six ? 0xdd : 0x00 };
		size_t len = six ? 54 : 34;

		assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, rows[i].from,
					   frame + (six ? 22 : 26)),
				 1);
		assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, rows[i].to,
					   frame + (six ? 38 : 30)),
				 1);
		if (frame_filter_passes(frame, len) != rows[i].passes)
			fail_msg("%s to %s", rows[i].from, rows[i].to);
		assert_false(frame_filter_passes(frame, len - 1));
	}
}

static void test_filter_of_other_frames(void **state)
{
	static const unsigned dropped[] = { 0x8100, 0x88a8, 0x88cc, 0x0000, 0x05dc };
	uint8_t frame[60] = { [12] = 0x08, [13] = 0x06 };

	(void)state;
	assert_true(frame_filter_passes(frame, 14)); /* ARP */
	assert_false(frame_filter_passes(frame, 13));
	assert_false(frame_filter_passes(frame, 0));
	for (size_t i = 0; i < ARRAY_LEN(dropped); i++) {
		frame[12] = (uint8_t)(dropped[i] >> 8);
		frame[13] = (uint8_t)dropped[i];
		assert_false(frame_filter_passes(frame, sizeof(frame)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer4),   cmocka_unit_test(test_answer6),
		cmocka_unit_test(test_no_answer), cmocka_unit_test(test_relay),
		cmocka_unit_test(test_filter),    cmocka_unit_test(test_filter_of_other_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

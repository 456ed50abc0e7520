/* data/proxy_protocol: valid headers are accepted, all others are rejected. */
#include "data/proxy_protocol.h"
#include "fixture.h"
#include "headers.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

TestSuite(proxy, .init = fixture_enter, .fini = fixture_leave);

/* Parse a copy of exact size, so that the address sanitizer detects any access behind it. */
static enum proxy_result parse(const void *bytes, size_t n, struct proxy_header *p)
{
	char *copy = malloc(n ? n : 1);
	cr_assert(copy);
	memcpy(copy, bytes, n);
	enum proxy_result r = proxy_header_parse(copy, n, p);
	free(copy);
	return r;
}

/* The header names CLIENT (NULL: no client). It is complete only with its last byte, and bytes
 * behind it are not part of it. */
static void expect_client(const char *header, size_t n, const char *client)
{
	struct proxy_header p = {0};
	char text[ADDRESS_TEXT_MAX], *more = malloc(n + 100);
	cr_assert(more);
	memcpy(more, header, n);
	memset(more + n, '\r', 100);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(parse(header, i, &p), PROXY_NEEDS_MORE, "after %zu of %zu", i, n);
	cr_assert_eq(p.length, 0);
	for (size_t i = n; i <= n + 100; i += 50) {
		cr_assert_eq(parse(more, i, &p), PROXY_COMPLETE);
		cr_assert_eq(p.length, n);
		if (client) {
			address_format(&p.client, text);
			cr_assert_str_eq(text, client);
		} else {
			cr_assert_eq(p.client.sa.ss_family, AF_UNSPEC);
		}
	}
	free(more);
}
#define EXPECT_CLIENT(header, client) expect_client(header, SIZE(header), client)

#define EXPECT(header, result)                                                                     \
	do {                                                                                       \
		struct proxy_header unused;                                                        \
		cr_assert_eq(parse(header, SIZE(header), &unused), result, #header);               \
	} while (0)

Test(proxy, the_header_has_the_address_of_the_client)
{
	EXPECT_CLIENT(V4, "192.0.2.7:4711");
	EXPECT_CLIENT(V6, "[2001:db8::7]:4711");
	EXPECT_CLIENT(HEAD("\x21", "\x12", "\0", "\x0c") V4_ADDRESSES, "192.0.2.7:4711");
	EXPECT_CLIENT(HEAD("\x21", "\x22", "\0", "\x24") V6_ADDRESSES, "[2001:db8::7]:4711");
}

Test(proxy, a_unix_client_has_no_address)
{
	char header[16 + 216] = HEAD("\x21", "\x31", "\0", "\xd8") "/run/client";
	expect_client(header, sizeof(header), "unix:");
	header[13] = 0x32;
	expect_client(header, sizeof(header), "unix:");
}

Test(proxy, a_local_header_has_no_client)
{
	EXPECT_CLIENT(LOCAL_CHECK, NULL);
	EXPECT_CLIENT(UNKNOWN, NULL);
	/* The family of a LOCAL header is ignored, and its addresses are skipped. */
	EXPECT_CLIENT(HEAD("\x20", "\x11", "\0", "\x0c") V4_ADDRESSES, NULL);
	EXPECT_CLIENT(HEAD("\x20", "\x11", "\0", "\0"), NULL);
	EXPECT_CLIENT(HEAD("\x20", "\xff", "\0", "\3") "abc", NULL);
	EXPECT_CLIENT(HEAD("\x21", "\0", "\0", "\3") "abc", NULL);
	EXPECT_CLIENT(HEAD("\x21", "\x10", "\0", "\x0c") V4_ADDRESSES, NULL);
	EXPECT_CLIENT(HEAD("\x21", "\1", "\0", "\0"), NULL);
}

Test(proxy, bytes_behind_the_addresses_are_skipped)
{
	EXPECT_CLIENT(V4_TLV, "192.0.2.7:4711");
	static char longest[PROXY_HEADER_MAX] = HEAD("\x21", "\x11", "\x0f", "\xf0") V4_ADDRESSES;
	expect_client(longest, sizeof(longest), "192.0.2.7:4711");
}

Test(proxy, a_header_that_is_too_long_is_rejected_by_its_first_16_bytes)
{
	EXPECT(HEAD("\x21", "\x11", "\x0f", "\xf1"), PROXY_TOO_LONG);
	EXPECT(HEAD("\x21", "\x11", "\xff", "\xff"), PROXY_TOO_LONG);
	EXPECT(HEAD("\x20", "\0", "\xff", "\xff"), PROXY_TOO_LONG);
}

Test(proxy, version_1_is_recognized_and_rejected)
{
	struct proxy_header p;
	for (size_t i = 1; i <= SIZE(VERSION_1); i++)
		cr_assert_eq(parse(VERSION_1, i, &p), i < 6 ? PROXY_NEEDS_MORE : PROXY_VERSION_1);
	EXPECT("PROXIED", PROXY_MALFORMED);
}

Test(proxy, other_versions_commands_families_and_transports_are_rejected)
{
	char header[] = V4;
	struct proxy_header p;
	for (unsigned i = 0; i < 256; i++) {
		header[12] = (char)i;
		cr_assert_eq(parse(header, SIZE(V4), &p) == PROXY_COMPLETE, i == 0x20 || i == 0x21,
			     "%#x", i);
	}
	header[12] = 0x21;
	for (unsigned i = 0; i < 256; i++) {
		/* 12 bytes are too few for IPv6 and unix. */
		bool good = i <= 0x02 || (i >= 0x10 && i <= 0x12) || i == 0x20 || i == 0x30;
		header[13] = (char)i;
		cr_assert_eq(parse(header, SIZE(V4), &p), good ? PROXY_COMPLETE : PROXY_MALFORMED,
			     "%#x", i);
	}
}

Test(proxy, a_truncated_address_is_rejected)
{
	EXPECT(HEAD("\x21", "\x11", "\0", "\x0b") V4_ADDRESSES, PROXY_MALFORMED);
	EXPECT(HEAD("\x21", "\x11", "\0", "\0"), PROXY_MALFORMED);
	EXPECT(HEAD("\x21", "\x21", "\0", "\x23") V6_ADDRESSES, PROXY_MALFORMED);
	EXPECT(HEAD("\x21", "\x31", "\0", "\xd7") V6_ADDRESSES, PROXY_MALFORMED);
}

Test(proxy, each_byte_of_the_signature_counts)
{
	char header[] = V4;
	struct proxy_header p;
	for (size_t i = 0; i < 12; i++) {
		header[i] ^= 1;
		for (size_t n = 0; n <= SIZE(V4); n++)
			cr_assert_eq(parse(header, n, &p),
				     n > i ? PROXY_MALFORMED : PROXY_NEEDS_MORE);
		header[i] ^= 1;
	}
	EXPECT("GET / HTTP/1.1\r\n\r\n", PROXY_MALFORMED);
	EXPECT("\n", PROXY_MALFORMED);
}

/* For any bytes, the result does not change with more input, and the length is never more than the
 * input. A fuzzer tries more; this test runs in every build. */
static void expect_consistent(const unsigned char *bytes, size_t n)
{
	struct proxy_header p, q = {0};
	enum proxy_result before = PROXY_NEEDS_MORE, now;
	for (size_t i = 0; i <= n; i++, before = now) {
		p = (struct proxy_header){0};
		now = parse(bytes, i, &p);
		cr_assert(before == PROXY_NEEDS_MORE || now == before, "%d, then %d", before, now);
		cr_assert(now != PROXY_COMPLETE || (p.length >= 16 && p.length <= i));
		cr_assert(now == PROXY_COMPLETE || p.length == 0);
		cr_assert_lt(i, PROXY_HEADER_MAX + (now != PROXY_NEEDS_MORE ? n : 0));
		if (now == PROXY_COMPLETE && before == PROXY_COMPLETE)
			cr_assert(p.length == q.length &&
				  p.client.sa.ss_family == q.client.sa.ss_family);
		q = p;
	}
}

Test(proxy, the_result_does_not_depend_on_how_a_header_is_split)
{
	static const char *const seeds[] = {V4, V4_TLV, V6, LOCAL_CHECK, VERSION_1};
	static const size_t sizes[] = {SIZE(V4), SIZE(V4_TLV), SIZE(V6), SIZE(LOCAL_CHECK),
				       SIZE(VERSION_1)};
	unsigned char bytes[128];
	uint32_t random = 1;
	for (size_t seed = 0; seed < 5; seed++)
		for (int round = 0; round < 2000; round++) {
			size_t n = sizes[seed];
			memset(bytes, 0, sizeof(bytes));
			memcpy(bytes, seeds[seed], n);
			for (int i = 0; i < 1 + round % 3; i++) {
				random = random * 1664525 + 1013904223;
				/* Mutate mostly the bytes behind the signature. */
				size_t at = random >> 24 & 1 ? 12 + (random >> 8) % 4
							     : (random >> 8) % n;
				bytes[at] = (unsigned char)(random >> 16);
			}
			expect_consistent(bytes, n + 20);
		}
}

/* base/address: addresses are parsed exactly and formatted as they are written. */
#include "base/address.h"
#include "fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

TestSuite(address, .init = fixture_enter, .fini = fixture_leave);

static struct address parse(const char *text)
{
	struct address a;
	memset(&a, 0xff, sizeof(a));
	cr_assert(address_parse(text, &a), "%s", text);
	return a;
}

static void expect_shown(const char *text, const char *expected)
{
	char is[ADDRESS_TEXT_MAX];
	struct address a = parse(text);
	address_format(&a, is);
	cr_assert_str_eq(is, expected, "%s is %s", text, is);
}

/* unix:/xxx, with a path of N bytes. */
static const char *unix_path(size_t n)
{
	static char text[256] = "unix:/";
	memset(text + 6, 'x', n - 1);
	text[5 + n] = '\0';
	return text;
}

Test(address, accepted_addresses_are_formatted_as_written)
{
	static const char *const good[] = {
		"127.0.0.1:7007",     "0.0.0.0:0",   "255.255.255.255:65535", "[::]:0",
		"[::1]:65535",	      "[fe80::1]:1", "[2001:db8::1:2]:80",    "unix:/run/x",
		"udp:127.0.0.1:53",   "udp:[::1]:0", "unix:/a b/c:d",	      "[1:2:3:4:5:6:7:8]:9",
		"[::ffff:1.2.3.4]:80"};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		expect_shown(good[i], good[i]);
	expect_shown(unix_path(107), unix_path(107));
	EXPECT_NOTHING_LEFT();
}

Test(address, other_spellings_are_formatted_in_one_way)
{
	expect_shown("[0:0:0:0:0:0:0:1]:080", "[::1]:80");
	expect_shown("[2001:DB8::0001]:00001", "[2001:db8::1]:1");
	expect_shown("127.0.0.1:00000", "127.0.0.1:0");
	EXPECT_NOTHING_LEFT();
}

Test(address, invalid_addresses_are_rejected)
{
	static const char *const bad[] = {"",
					  ":",
					  ":80",
					  "80",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1: 80",
					  "127.0.0.1:80 ",

					  "127.0.0.1:65536",
					  "127.0.0.1:99999",
					  "127.0.0.1:100000",
					  "127.0.0.1:000080",
					  "127.0.0.1:-1",
					  "127.0.0.1:+80",
					  "127.0.0.1:0x50",
					  "127.0.0.1:http",
					  "127.0.0.1:8O",
					  "127.0.0.1:80:90",
					  "127.0.0:80",
					  "127.0.0.256:80",
					  "127.1:80",
					  "2130706433:80",
					  "0x7f.0.0.1:80",
					  "localhost:80",
					  "*:80",
					  "127.0.0.1/8:80",
					  "::1:80",
					  "::1",
					  "[::1]",
					  "[::1]:",
					  "[::1]80",
					  "[::1:80",
					  "::1]:80",
					  "[]:80",
					  "[127.0.0.1]:80",
					  "[localhost]:80",
					  "[::1] :80",
					  "[ ::1]:80",
					  "[:::1]:80",
					  "[1:2:3:4:5:6:7:8:9]:80",
					  "[12345::]:80",
					  "[::g]:80",
					  "unix:",
					  "unix:x",
					  "unix:./x",

					  "UNIX:/x",
					  "udp:",
					  "udp:/x",
					  "udp:unix:/x",
					  "udp:udp:127.0.0.1:80",
					  "UDP:127.0.0.1:80",
					  "udp: 127.0.0.1:80",
					  "unix /x",
					  "/x",
					  "@x",
					  "unix:@x",
					  "tcp:127.0.0.1:80",
					  "127.0.0.1:80\n",
					  "127.0.0.1\t:80"};
	struct address a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_not(address_parse(bad[i], &a), "\"%s\"", bad[i]);
	cr_assert_not(address_parse(unix_path(108), &a));
	EXPECT_NOTHING_LEFT();
}

Test(address, ports_have_digits_only)
{
	static const char *const bad[] = {" 127.0.0.1:80",	    "127. 0.0.1:80",
					  "127.0.0.+1:80",	    "127.0.0.4294967297:80",
					  "127.0.0.-4294967295:80", "127.0.0.1.:80"};
	struct address a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_not(address_parse(bad[i], &a), "\"%s\"", bad[i]);
	EXPECT_NOTHING_LEFT();
}

Test(address, text_between_bracket_and_port_is_rejected)
{
	static const char *const bad[] = {"[::1]:80]:90", "[::1]x]:90", "[::1]]:90", "[[::1]]:90"};
	struct address a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_not(address_parse(bad[i], &a), "\"%s\"", bad[i]);
	EXPECT_NOTHING_LEFT();
}

Test(address, a_long_text_is_rejected)
{
	char text[4096];
	struct address a;
	memset(text, '1', sizeof(text));
	strcpy(text + sizeof(text) - 4, ":80");
	cr_assert_not(address_parse(text, &a));
	for (size_t n = 100; n < 200; n++) {
		text[0] = '[';
		strcpy(text + n, "]:80");
		cr_assert_not(address_parse(text, &a));
	}
	EXPECT_NOTHING_LEFT();
}

Test(address, a_rejected_address_leaves_no_partial_result)
{
	struct address a;
	cr_assert_not(address_parse("127.0.0.1:65536", &a));
	cr_assert_eq(a.length, 0);
	EXPECT_NOTHING_LEFT();
}

Test(address, the_kernel_binds_the_written_address)
{
	struct address a = parse("127.0.0.2:258");
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a.sa;
	cr_assert(in->sin_family == AF_INET && a.length == sizeof(*in));
	cr_assert_eq(memcmp(&in->sin_addr, "\x7f\0\0\x02", 4), 0);
	cr_assert_eq(memcmp(&in->sin_port, "\x01\x02", 2), 0);
	a = parse("[::2]:258");
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a.sa;
	cr_assert(in6->sin6_family == AF_INET6 && a.length == sizeof(*in6));
	cr_assert_eq(memcmp(&in6->sin6_addr, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02", 16), 0);
	cr_assert_eq(memcmp(&in6->sin6_port, "\x01\x02", 2), 0);
	cr_assert(in6->sin6_flowinfo == 0 && in6->sin6_scope_id == 0);
	a = parse("unix:/run/x");
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a.sa;
	cr_assert(un->sun_family == AF_UNIX);
	cr_assert_eq(a.length, offsetof(struct sockaddr_un, sun_path) + 7);
	cr_assert_str_eq(un->sun_path, "/run/x");
	EXPECT_NOTHING_LEFT();
}

static bool equal(const char *x, const char *y)
{
	struct address a = parse(x), b = parse(y);
	cr_assert_eq(address_equal(&a, &b), address_equal(&b, &a));
	return address_equal(&a, &b);
}

Test(address, equal_addresses_bind_to_the_same_socket)
{
	cr_assert(equal("127.0.0.1:80", "127.0.0.1:080"));
	cr_assert(equal("[::1]:80", "[0:0::0:1]:80"));
	cr_assert(equal("[2001:db8::a]:80", "[2001:0DB8:0:0::A]:80"));
	cr_assert(equal("unix:/x", "unix:/x"));
	cr_assert_not(equal("127.0.0.1:80", "127.0.0.1:81"));
	cr_assert_not(equal("127.0.0.1:80", "127.0.0.2:80"));
	cr_assert_not(equal("[::1]:80", "[::2]:80"));
	cr_assert_not(equal("[::1]:80", "[::1]:81"));
	cr_assert_not(equal("0.0.0.0:80", "[::]:80"));
	cr_assert_not(equal("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
	cr_assert_not(equal("unix:/x", "unix:/y"));
	cr_assert_not(equal("unix:/x", "127.0.0.1:80"));
	cr_assert(equal("udp:127.0.0.1:80", "udp:127.0.0.1:080"));
	cr_assert_not(equal("udp:127.0.0.1:80", "127.0.0.1:80"));
	EXPECT_NOTHING_LEFT();
}

Test(address, each_mistake_is_explained)
{
	static const struct {
		const char *text, *part;
	} mistakes[] = {{"127.0.0.1", "the port is missing"},
			{"127.0.0.1:", "the port is missing"},
			{"localhost", "the port is missing"},
			{"80", "the port is missing"},
			{"[::1]", "the port is missing"},
			{"[::1]:", "the port is missing"},
			{"[::1]80", "the port is missing"},
			{"127.0.0.1:70000", "70000 is above 65535"},
			{"[::1]:65536", "65536 is above 65535"},
			{"127.0.0.1:000080", "000080 is too long"},
			{"127.0.0.1:http", "names of ports are not looked up"},
			{"127.0.0.1: 80", "a port number"},
			{"127.0.0.1:-1", "a port number"},
			{"localhost:80", "names are not looked up here"},
			{"www.example.org:80", "names are not looked up here"},
			{":80", "0.0.0.0:80 for all IPv4 addresses, [::]:80"},
			{"*:80", "0.0.0.0:80 for all IPv4 addresses, [::]:80"},
			{"127.0.0.256:80", "an IPv4 address of four numbers"},
			{"127.1:80", "an IPv4 address of four numbers"},
			{"::1:80", "brackets around the IPv6 address: [::1]:80"},
			{"2001:db8::1:443", "brackets around the IPv6 address: [2001:db8::1]:443"},
			{"::1", "brackets around the IPv6 address, and a port: [::1]:80"},
			{"[127.0.0.1]:80", "an IPv6 address in brackets"},
			{"[::g]:80", "an IPv6 address in brackets"},
			{"[fe80::1%]:80", "an IPv6 address in brackets"},
			{"unix:", "an absolute path after unix:"},
			{"unix:run/x", "an absolute path after unix:"},
			{"unix:@x", "an absolute path after unix:"},
			{"/run/x", "unix:/run/x"},
			{"tcp:127.0.0.1:80", "host:port, [v6]:port or unix:/path"},
			{"127.0.0.1:80:90", "host:port, [v6]:port or unix:/path"}};
	char out[256];
	struct address a;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(*mistakes); i++) {
		cr_assert_not(address_parse(mistakes[i].text, &a), "%s", mistakes[i].text);
		address_explain(mistakes[i].text, out, sizeof(out));
		cr_assert(strstr(out, mistakes[i].part), "%s: %s", mistakes[i].text, out);
	}
	address_explain(unix_path(108), out, sizeof(out));
	cr_assert(strstr(out, "at most 107 bytes") && strstr(out, "too long: 108 bytes"), "%s",
		  out);
	EXPECT_NOTHING_LEFT();
}

Test(address, an_explanation_fits_in_its_buffer)
{
	char text[4096], out[64];
	static const char *const ends[] = {"", ":80", ":x", "]", "]:80"};
	static const char first[] = "1a/[:";
	for (size_t i = 0; i < 5; i++)
		for (size_t k = 0; first[k]; k++) {
			memset(text, first[k], 4000);
			strcpy(text + 4000, ends[i]);
			address_explain(text, out, sizeof(out));
			cr_assert_lt(strlen(out), sizeof(out));
		}
	EXPECT_NOTHING_LEFT();
}

/* A link-local address includes the interface; lo always has index 1. */
Test(address, the_scope_belongs_to_the_address)
{
	struct address with, without = parse("[fe80::1]:80");
	if (!address_parse("[fe80::1%lo]:80", &with))
		return;
	cr_assert_not(address_equal(&with, &without));
	expect_shown("[fe80::1%lo]:80", "[fe80::1%lo]:80");
}

/* It may appear later: at the start of the machine, or when a cable is plugged in. */
Test(address, an_interface_may_be_missing)
{
	struct address one = parse("[fe80::1%nosuch0]:80"), other = parse("[fe80::1%nosuch1]:80");
	cr_assert(one.no_interface);
	cr_assert_eq(address_port(&one), 80);
	cr_assert_not(address_equal(&one, &other));
	cr_assert_not(address_equal(&one, &one));
	struct address with = parse("[::1]:80");
	cr_assert_not(with.no_interface);
	static const char *const bad[] = {"[fe80::1%]:80", "[::1%nosuch0]:80",
					  "[fe80::x%nosuch0]:80", "[fe80::1%0123456789abcdef]:80",
					  "[fe80::1%a/b]:80"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_not(address_parse(bad[i], &one), "%s", bad[i]);
	EXPECT_NOTHING_LEFT();
}

Test(address, a_port_can_be_read_and_set)
{
	struct address a = parse("127.0.0.1:0");
	cr_assert_eq(address_port(&a), 0);
	address_set_port(&a, 65535);
	cr_assert_eq(address_port(&a), 65535);
	a = parse("[::1]:7");
	cr_assert_eq(address_port(&a), 7);
	address_set_port(&a, 8);
	cr_assert_eq(address_port(&a), 8);
	a = parse("unix:/x");
	address_set_port(&a, 9);
	cr_assert_eq(address_port(&a), 0);
	expect_shown("unix:/x", "unix:/x");
	EXPECT_NOTHING_LEFT();
}

Test(address, an_unnamed_socket_is_formatted_as_unix)
{
	char text[ADDRESS_TEXT_MAX];
	struct address a = {.length = offsetof(struct sockaddr_un, sun_path)};
	a.sa.ss_family = AF_UNIX;
	address_format(&a, text);
	cr_assert_str_eq(text, "unix:");
	EXPECT_NOTHING_LEFT();
}

/* A passed socket can have an abstract address: every byte counts. */
static struct address abstract(const char *name, size_t n)
{
	struct address a = {.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)};
	struct sockaddr_un *un = (struct sockaddr_un *)&a.sa;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + 1, name, n);
	return a;
}

Test(address, an_abstract_socket_is_formatted_with_its_name)
{
	char text[ADDRESS_TEXT_MAX];
	struct address a = abstract("one", 3), b = abstract("two", 3), c = abstract("one\0x", 5);
	struct address path = parse("unix:/one");
	cr_assert(address_equal(&a, &a));
	cr_assert_not(address_equal(&a, &b));
	cr_assert_not(address_equal(&a, &c));
	cr_assert_not(address_equal(&a, &path));
	address_format(&a, text);
	cr_assert_str_eq(text, "unix:@one");
	address_format(&c, text);
	cr_assert_str_eq(text, "unix:@one\\x00x");
	EXPECT_NOTHING_LEFT();
}

Test(address, wildcard_addresses_overlap_specific_ones)
{
	static const struct {
		const char *one, *other;
		bool overlaps;
	} pairs[] = {{"127.0.0.1:80", "127.0.0.1:80", true},
		     {"127.0.0.1:80", "127.0.0.2:80", false},
		     {"0.0.0.0:80", "127.0.0.2:80", true},
		     {"0.0.0.0:80", "127.0.0.2:81", false},
		     {"[::]:80", "[::1]:80", true},
		     {"[::]:80", "127.0.0.1:80", false},
		     {"unix:/a", "unix:/a", true},
		     {"unix:/a", "unix:/b", false},
		     {"udp:0.0.0.0:80", "udp:127.0.0.2:80", true},
		     {"udp:0.0.0.0:80", "127.0.0.2:80", false}};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		struct address a = parse(pairs[i].one), b = parse(pairs[i].other);
		cr_assert_eq(address_overlaps(&a, &b), pairs[i].overlaps, "%zu", i);
		cr_assert_eq(address_overlaps(&b, &a), pairs[i].overlaps, "%zu", i);
	}
	EXPECT_NOTHING_LEFT();
}

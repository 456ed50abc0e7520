/* An accepted address is formatted as a text that parses to the same address. For every other text
 * there is an explanation. */
/* fuzz: 200000 256 */
#include "base/address.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

static void expect_round_trip(const struct address *a)
{
	struct address b, moved;
	char text[ADDRESS_TEXT_MAX], again[ADDRESS_TEXT_MAX];
	address_format(a, text);
	CHECK(strlen(text) < ADDRESS_TEXT_MAX, "%s", text);
	CHECK(address_parse(text, &b), "formatted as a text that does not parse: %s", text);
	address_format(&b, again);
	CHECK(strcmp(text, again) == 0, "%s is formatted as %s", text, again);
	CHECK(address_equal(a, &b) && address_equal(&b, a) && address_equal(a, a), "%s", text);
	CHECK(a->length == b.length && address_port(a) == address_port(&b), "%s", text);
	if (a->sa.ss_family == AF_UNIX)
		return;
	moved = *a;
	address_set_port(&moved, address_port(a) ^ 1);
	CHECK(!address_equal(a, &moved), "%s", text);
}

static void expect_explanation(const char *text)
{
	char why[256] = "", cut[8];
	address_explain(text, why, sizeof(why));
	CHECK(*why, "no explanation of %s", text);
	address_explain(text, cut, sizeof(cut));
	CHECK(strncmp(cut, why, strlen(cut)) == 0 && strlen(cut) < sizeof(cut), "%s", why);
}

/* The kernel can return any length, and a path without a NUL at its end. */
static void format_bytes(const uint8_t *data, size_t n)
{
	static const sa_family_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_UNSPEC};
	struct address a = {0};
	char text[ADDRESS_TEXT_MAX];
	if (n > sizeof(a.sa))
		n = sizeof(a.sa);
	memcpy(&a.sa, data, n);
	a.sa.ss_family = families[n ? data[0] % 4 : 3];
	a.length = (socklen_t)n;
	address_format(&a, text);
	CHECK(strlen(text) < ADDRESS_TEXT_MAX, "no NUL at the end");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct address a;
	char *text = malloc(n + 1);
	memcpy(text, data, n);
	text[n] = '\0';
	if (!address_parse(text, &a))
		expect_explanation(text);
	else if (!a.no_interface)
		expect_round_trip(&a);
	free(text);
	format_bytes(data, n);
	return 0;
}

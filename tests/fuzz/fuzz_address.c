/* An address: what is accepted is shown as a text that means the same. */
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
	char shown[ADDRESS_TEXT_MAX], again[ADDRESS_TEXT_MAX];
	address_show(a, shown);
	HOLDS(strlen(shown) < ADDRESS_TEXT_MAX, "%s", shown);
	HOLDS(address_parse(shown, &b), "not accepted, though it was shown: %s", shown);
	address_show(&b, again);
	HOLDS(strcmp(shown, again) == 0, "%s is shown as %s", shown, again);
	HOLDS(address_equal(a, &b) && address_equal(&b, a) && address_equal(a, a), "%s", shown);
	HOLDS(a->length == b.length && address_port(a) == address_port(&b), "%s", shown);
	if (a->sa.ss_family == AF_UNIX)
		return;
	moved = *a;
	address_set_port(&moved, address_port(a) ^ 1);
	HOLDS(!address_equal(a, &moved), "%s", shown);
}

/* As the kernel could give one: with a length of its own, and not ended by a NUL. */
static void show_bytes(const uint8_t *data, size_t n)
{
	static const sa_family_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_UNSPEC};
	struct address a = {0};
	char shown[ADDRESS_TEXT_MAX];
	if (n > sizeof(a.sa))
		n = sizeof(a.sa);
	memcpy(&a.sa, data, n);
	a.sa.ss_family = families[n ? data[0] % 4 : 3];
	a.length = (socklen_t)n;
	address_show(&a, shown);
	HOLDS(strlen(shown) < ADDRESS_TEXT_MAX, "not ended");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct address a;
	char *text = malloc(n + 1);
	memcpy(text, data, n);
	text[n] = '\0';
	if (address_parse(text, &a))
		expect_round_trip(&a);
	free(text);
	show_bytes(data, n);
	return 0;
}

/*
 * The PROXY header that a balancer sends: however it is cut into pieces, it is found to be the same
 * one, or not to be one. Whoever can connect can send it.
 */
#include "data/proxy.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

/* The first N bytes, where nothing that comes after them can be read. */
static enum proxy_result parse(const uint8_t *data, size_t n, struct proxy *p)
{
	uint8_t *copy = malloc(n ? n : 1);
	memcpy(copy, data, n);
	enum proxy_result result = proxy_parse(copy, n, p);
	free(copy);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct proxy whole = {0}, piece = {0};
	char shown[ADDRESS_TEXT_MAX];
	if (n == 0)
		return 0;
	enum proxy_result is = parse(data, n, &whole);
	size_t last = is == PROXY_COMPLETE ? whole.length : n;
	HOLDS(last <= n && last <= PROXY_HEADER_MAX + n, "%zu of %zu", last, n);
	/* A few lengths: all of them would be slow, and the first bytes are where it is decided. */
	for (size_t i = 1; i < last; i += i < 32 ? 1 : 1 + last / 8) {
		enum proxy_result early = parse(data, i, &piece);
		HOLDS(early == PROXY_NEEDS_MORE || early == is, "%d after %zu, then %d", (int)early,
		      i, (int)is);
		HOLDS(early != PROXY_COMPLETE, "complete after %zu of %zu", i, last);
	}
	if (is != PROXY_COMPLETE)
		return 0;
	HOLDS(parse(data, last, &piece) == PROXY_COMPLETE && piece.length == last, "%zu", last);
	HOLDS(memcmp(&piece.client, &whole.client, sizeof(piece.client)) == 0, "another client");
	address_show(&whole.client, shown);
	HOLDS(strlen(shown) < ADDRESS_TEXT_MAX && address_equal(&whole.client, &piece.client), "%s",
	      shown);
	return 0;
}

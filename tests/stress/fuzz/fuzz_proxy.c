/*
 * The PROXY protocol header, which any client can send. The result does not depend on how the
 * header is split into pieces.
 */
/* fuzz: 100000 5000 */
#include "data/proxy_protocol.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

/* Parse a copy of the first N bytes, so that the sanitizer detects a read beyond them. */
static enum proxy_result parse(const uint8_t *data, size_t n, struct proxy_header *p)
{
	uint8_t *copy = malloc(n ? n : 1);
	memcpy(copy, data, n);
	enum proxy_result result = proxy_header_parse(copy, n, p);
	free(copy);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct proxy_header whole = {0}, piece = {0};
	char text[ADDRESS_TEXT_MAX];
	if (n == 0)
		return 0;
	enum proxy_result result = parse(data, n, &whole);
	size_t last = result == PROXY_COMPLETE ? whole.length : n;
	CHECK(last <= n && last <= PROXY_HEADER_MAX + n, "%zu of %zu", last, n);
	/* Each short length and some others: the first bytes decide, and all would be slow. */
	for (size_t i = 1; i < last; i += i < 32 ? 1 : 1 + last / 8) {
		enum proxy_result early = parse(data, i, &piece);
		CHECK(early == PROXY_NEEDS_MORE || early == result, "%d after %zu, then %d",
		      (int)early, i, (int)result);
		CHECK(early != PROXY_COMPLETE, "complete after %zu of %zu", i, last);
	}
	if (result != PROXY_COMPLETE)
		return 0;
	CHECK(parse(data, last, &piece) == PROXY_COMPLETE && piece.length == last, "%zu", last);
	CHECK(memcmp(&piece.client, &whole.client, sizeof(piece.client)) == 0,
	      "a different client");
	address_format(&whole.client, text);
	CHECK(strlen(text) < ADDRESS_TEXT_MAX && address_equal(&whole.client, &piece.client), "%s",
	      text);
	return 0;
}

/* A request to the admin server: any bytes are refused, or taken apart into clean strings. */
/* fuzz: 100000 8192 */
#include "admin/request.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

/* Not empty, and without spaces, control characters and bytes above 127. */
static bool is_visible(const char *text)
{
	for (const char *s = text; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 127)
			return false;
	return *text;
}

static void expect_clean(const struct request *r)
{
	bool is_other = strcmp(r->method, "CONNECT") == 0 || strcmp(r->method, "OPTIONS") == 0;
	CHECK(is_visible(r->method), "%s", r->method);
	CHECK(is_other || (*r->path == '/' && is_visible(r->path)), "%s", r->path);
	CHECK(!strchr(r->path, '?'), "%s", r->path);
	for (const char *s = r->host; s && *s; s++)
		CHECK((unsigned char)*s >= ' ' || *s == '\t', "0x%02x in the host", *s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	/* Allocated with the exact size, so that the address sanitizer detects any access behind
	 * it. */
	char *text = malloc(n + 1);
	memcpy(text, data, n);
	text[n] = '\0';
	size_t length = request_length(text, n);
	CHECK(length <= n, "%zu of %zu", length, n);
	for (size_t i = 0; i < length; i += i < 32 ? 1 : 1 + length / 8)
		CHECK(request_length(text, i) == 0, "complete after %zu of %zu", i, length);
	size_t part = length ? length : n; /* without an empty line: too long */
	text[part] = '\0';
	struct request r = request_parse(text, part);
	if (!r.error)
		expect_clean(&r);
	CHECK(length || r.error, "incomplete, and accepted");
	free(text);
	return 0;
}

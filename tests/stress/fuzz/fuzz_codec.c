/*
 * Arbitrary bytes from the configuration loader, as if the loader were corrupted. In the input '\n'
 * means the NUL between two strings. The bytes are rejected, or they decode to errors or to a valid
 * configuration, which encodes to the same configuration again.
 */
/* fuzz: 50000 4096 */
#include "config/codec.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static struct memory_file file;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	memory_file_create(&file);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct errors e = {0};
	char *bytes = malloc(n + 1); /* no larger: the sanitizer detects a read beyond it */
	CHECK(bytes, "%m");
	for (size_t i = 0; i < n; i++)
		bytes[i] = data[i] == '\n' ? '\0' : (char)data[i];
	struct config *c;
	bool complete = config_decode(bytes, n, &fuzz_service, &c, &e);
	CHECK(complete ? !c == (e.n > 0) : !c, "%zu errors", e.n);
	for (size_t i = 0; i < errors_stored(&e); i++)
		CHECK(is_printable_line(errors_text(&e, i)), "%s", errors_text(&e, i));
	errors_clear(&e);
	if (c) {
		char *again = NULL;
		size_t length;
		FILE *out = open_memstream(&again, &length);
		CHECK(out, "%m");
		config_encode(c, &e, out);
		CHECK(fclose(out) == 0, "%m");
		struct config *twice;
		CHECK(config_decode(again, length, &fuzz_service, &twice, &e) && twice, "%s",
		      again);
		expect_equal(c, twice);
		config_unref(twice);
		free(again);
	}
	config_unref(c);
	free(bytes);
	return 0;
}

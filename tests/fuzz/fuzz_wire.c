/*
 * What the process that parses could say if it had gone mad: each byte of the input but '\n', which
 * stands for the NUL between two strings. It is refused, with errors, or it is a configuration that
 * the schema accepts, and then it comes out as it went in.
 */
#include "base/wire.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static struct memory_file file;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	memory_file_open(&file);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct errors e = {0};
	char *bytes = malloc(n + 1); /* no byte more than are looked at, for the sanitizer */
	HOLDS(bytes, "%m");
	for (size_t i = 0; i < n; i++)
		bytes[i] = data[i] == '\n' ? '\0' : (char)data[i];
	struct config *c;
	bool whole = wire_take(bytes, n, &fuzz_service, &c, &e);
	HOLDS(whole ? !c == (e.n > 0) : !c, "%zu errors", e.n);
	for (size_t i = 0; i < errors_shown(&e); i++)
		HOLDS(is_printable_line(errors_text(&e, i)), "%s", errors_text(&e, i));
	errors_clear(&e);
	if (c) {
		char *again = NULL;
		size_t length;
		FILE *out = open_memstream(&again, &length);
		HOLDS(out, "%m");
		wire_put(c, &e, out);
		HOLDS(fclose(out) == 0, "%m");
		struct config *twice;
		HOLDS(wire_take(again, length, &fuzz_service, &twice, &e) && twice, "%s", again);
		expect_same(c, twice);
		config_unref(twice);
		free(again);
	}
	config_unref(c);
	free(bytes);
	return 0;
}

/*
 * The text of a configuration is rejected with errors, or it is complete. An accepted configuration
 * is printed as a text that loads to the same configuration.
 */
/* fuzz: 10000 2048 */
#include "complete.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static struct memory_file file;
static struct config *defaults;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	setenv("NAME", "workers", 1);
	setenv("ODD", "a\"b\\\n{", 1);
	memory_file_create(&file);
	struct errors e = {0};
	defaults = config_parse(NULL, &fuzz_service, &e);
	CHECK(defaults, "cannot load the defaults");
	return 0;
}

static void on_change(void *context, const char *line)
{
	size_t *n = context;
	*n += strlen(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t reported = 0;
	int descriptor = lowest_free_descriptor();
	memory_file_write(&file, data, n);
	struct config *c = load_config(file.path);
	CHECK(lowest_free_descriptor() == descriptor, "a descriptor leaked");
	if (!c)
		return 0;
	CHECK(is_complete((const char *)data, n, NULL, NULL), "accepted although incomplete");

	char *text = config_text(c);
	memory_file_write(&file, text, strlen(text));
	struct config *again = load_config(file.path);
	CHECK(again, "the printed text does not load:\n%s", text);
	char *twice = config_text(again);
	CHECK(strcmp(text, twice) == 0, "%s\nis printed as\n%s", text, twice);
	expect_equal(c, again);
	free(text);
	free(twice);
	config_unref(again);

	/* A reload does not change an option that needs a restart. */
	config_compare(defaults, c, on_change, &reported);
	CHECK(c->workers == defaults->workers && strcmp(c->user, defaults->user) == 0,
	      "a reload changed an option that needs a restart");
	config_unref(c);
	return 0;
}

/* The command line. */
#ifndef SKELD_OPTIONS_H
#define SKELD_OPTIONS_H

#include <stdbool.h>

enum mode { MODE_RUN, MODE_CHECK, MODE_DUMP, MODE_SIGNAL, MODE_SELF_TEST };

struct arguments {
	enum mode mode;
	const char *config_file;
	bool config_given;	 /* by -c */
	const char *runtime_dir; /* NULL: there is no default */
	const char *argument;	 /* of --signal, --self-test; may be NULL for the latter */
	char buffer[4096];	 /* what runtime_dir may point into */
};

/* sysexits(3), and what LSB says of "not running". */
enum { EXIT_NOT_RUNNING = 3 };

/* Returns -1 to go on, or the code to exit with: --help and --version are done, usage is wrong. */
int arguments_parse(struct arguments *a, int argc, char **argv);

#endif

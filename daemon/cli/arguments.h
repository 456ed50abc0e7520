/* The command line. */
#ifndef SKELD_ARGUMENTS_H
#define SKELD_ARGUMENTS_H

#include <stdbool.h>

enum mode { MODE_RUN, MODE_CHECK, MODE_DUMP, MODE_SIGNAL, MODE_SELF_TEST, MODE_VERSION };

struct arguments {
	enum mode mode;
	const char *config_file;
	bool config_given;	 /* by -c */
	const char *runtime_dir; /* NULL: there is no default */
	const char *argument;	 /* of --signal, --self-test; may be NULL for the latter */
	bool tap;
	char buffer[4096]; /* memory for runtime_dir */
};

/* For -s, as the LSB defines it. The other exit codes are those of sysexits(3). */
enum { EXIT_NOT_RUNNING = 3 };

/* Returns -1 to continue, or the exit code after --help or a usage error. */
int arguments_parse(struct arguments *a, int argc, char **argv);

#endif

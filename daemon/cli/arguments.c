#include "cli/arguments.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char usage[] =
	"usage: skeld [-c FILE] [-r DIR]   run in the foreground\n"
	"  -c, --config FILE        configuration; default " SKELD_SYSCONFDIR "/skeld.conf\n"
	"  -r, --runtime-dir DIR    runtime files; default $RUNTIME_DIRECTORY, else /run/skeld as\n"
	"                           root, else $XDG_RUNTIME_DIR/skeld; created if missing\n"
	"  -t, --check              check the configuration: exit 0, or 78 and FILE:LINE: text\n"
	"  -T, --dump-config        check, then print the effective configuration\n"
	"  -s, --signal COMMAND     reload | stats | stop | status: send it to the running "
	"daemon,\n"
	"                           wait for the outcome and print it\n"
	"  --self-test[=LIST]       order,burst,storm (all by default); with --tap: TAP output\n"
	"  -h, --help               print this help\n"
	"  -V, --version            print the versions and the options of the build\n"
	"exit: 0 success, 1 failure or forced stop, 3 not running (-s), 64 usage,\n"
	"      75 no outcome in time (-s), 78 configuration\n";

/* clang-format off */
static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
				      {"runtime-dir", required_argument, NULL, 'r'},
				      {"check", no_argument, NULL, 't'},
				      {"dump-config", no_argument, NULL, 'T'},
				      {"signal", required_argument, NULL, 's'},
				      {"self-test", optional_argument, NULL, 'S'},
				      {"tap", no_argument, NULL, 'P'},
				      {"help", no_argument, NULL, 'h'},
				      {"version", no_argument, NULL, 'V'},
				      {0}};
/* clang-format on */

/* Returns NULL if there is none, or if its name is too long for a path. */
static const char *default_runtime_dir(struct arguments *a)
{
	const char *given = getenv("RUNTIME_DIRECTORY");
	const char *user = getenv("XDG_RUNTIME_DIR");
	int n = 0;
	if (given && *given) /* a list; the first directory is used */
		n = snprintf(a->buffer, sizeof(a->buffer), "%.*s", (int)strcspn(given, ":"), given);
	else if (geteuid() == 0)
		return "/run/skeld";
	else if (user && *user)
		n = snprintf(a->buffer, sizeof(a->buffer), "%s/skeld", user);
	return n > 0 && (size_t)n < sizeof(a->buffer) ? a->buffer : NULL;
}

static int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage_error(const char *format, ...)
{
	va_list ap;
	fputs("skeld: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputs("\ntry: skeld --help\n", stderr);
	return EX_USAGE;
}

/* Print TEXT as the only output of the program. Returns the exit code. */
static int print(const char *text)
{
	fputs(text, stdout);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static enum mode mode_of(int option)
{
	return option == 't'   ? MODE_CHECK
	       : option == 'T' ? MODE_DUMP
	       : option == 's' ? MODE_SIGNAL
			       : MODE_SELF_TEST;
}

/* Check what getopt(3) cannot, and fill in the default runtime directory. */
static int complete(struct arguments *a, int argc, char **argv, int modes)
{
	if (optind < argc)
		return usage_error("unexpected argument '%s'", argv[optind]);
	if (modes > 1)
		return usage_error("only one of -t, -T, -s and --self-test at a time");
	if (a->tap && a->mode != MODE_SELF_TEST)
		return usage_error("--tap is for --self-test");
	if (!a->runtime_dir)
		a->runtime_dir = default_runtime_dir(a);
	if ((!a->runtime_dir || !*a->runtime_dir) &&
	    (a->mode == MODE_RUN || a->mode == MODE_SIGNAL))
		return usage_error(
			"no runtime directory: RUNTIME_DIRECTORY and XDG_RUNTIME_DIR are not set, "
			"use -r DIR");
	return -1;
}

int arguments_parse(struct arguments *a, int argc, char **argv)
{
	*a = (struct arguments){.mode = MODE_RUN, .config_file = SKELD_SYSCONFDIR "/skeld.conf"};
	int ch, modes = 0;
	/* getopt(3) begins its messages with this name, as usage_error() does. */
	if (argc > 0)
		argv[0] = "skeld";
	while ((ch = getopt_long(argc, argv, "c:r:tTs:hV", longs, NULL)) != -1) {
		switch (ch) {
		case 'c':
			a->config_file = optarg;
			a->config_given = true;
			break;
		case 'r':
			a->runtime_dir = optarg;
			break;
		case 't':
		case 'T':
		case 's':
		case 'S':
			a->mode = mode_of(ch);
			a->argument = optarg;
			modes++;
			break;
		case 'P':
			a->tap = true;
			break;
		case 'h':
			return print(usage);
		case 'V':
			a->mode = MODE_VERSION; /* the rest of the command line is ignored */
			return -1;
		default:
			fputs("try: skeld --help\n", stderr);
			return EX_USAGE;
		}
	}
	return complete(a, argc, argv, modes);
}

#include "control/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char usage[] =
	"usage: skeld [-c FILE] [-r DIR]   run in the foreground\n"
	"  -c, --config FILE        default " SKELD_SYSCONFDIR "/skeld.conf\n"
	"  -r, --runtime-dir DIR    default $RUNTIME_DIRECTORY, else /run/skeld as root, else\n"
	"                           $XDG_RUNTIME_DIR/skeld; created if missing\n"
	"  -t, --check              check the configuration: exit 0, or 78 and FILE:LINE: text\n"
	"  -T, --dump-config        check, then print the effective configuration\n"
	"  -s, --signal COMMAND     reload | stats | stop | status: tell the running daemon,\n"
	"                           wait for the outcome and print it\n"
	"  --self-test[=LIST]       order,burst,storm (all by default)\n"
	"  -h, --help   -V, --version\n"
	"exit: 0 success, 1 failure or forced stop, 3 not running (-s), 64 usage,\n"
	"      75 no outcome in time (-s), 78 configuration\n";

static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
				      {"runtime-dir", required_argument, NULL, 'r'},
				      {"check", no_argument, NULL, 't'},
				      {"dump-config", no_argument, NULL, 'T'},
				      {"signal", required_argument, NULL, 's'},
				      {"self-test", optional_argument, NULL, 'S'},
				      {"help", no_argument, NULL, 'h'},
				      {"version", no_argument, NULL, 'V'},
				      {0}};

/* NULL: there is none, or its name is too long for a path. */
static const char *default_runtime_dir(struct options *o)
{
	const char *given = getenv("RUNTIME_DIRECTORY");
	const char *user = getenv("XDG_RUNTIME_DIR");
	int n = 0;
	if (given && *given) /* a list, if the unit has several: ours is the first */
		n = snprintf(o->buffer, sizeof(o->buffer), "%.*s", (int)strcspn(given, ":"), given);
	else if (geteuid() == 0)
		return "/run/skeld";
	else if (user && *user)
		n = snprintf(o->buffer, sizeof(o->buffer), "%s/skeld", user);
	return n > 0 && (size_t)n < sizeof(o->buffer) ? o->buffer : NULL;
}

int options_parse(struct options *o, int argc, char **argv)
{
	*o = (struct options){.mode = MODE_RUN, .config = SKELD_SYSCONFDIR "/skeld.conf"};
	int ch, modes = 0;
	while ((ch = getopt_long(argc, argv, "c:r:tTs:hV", longs, NULL)) != -1) {
		switch (ch) {
		case 'c':
			o->config = optarg;
			o->config_given = true;
			break;
		case 'r':
			o->runtime_dir = optarg;
			break;
		case 't':
		case 'T':
		case 's':
		case 'S':
			o->mode = ch == 't'   ? MODE_CHECK
				  : ch == 'T' ? MODE_DUMP
				  : ch == 's' ? MODE_SIGNAL
					      : MODE_SELF_TEST;
			o->argument = optarg;
			modes++;
			break;
		case 'h':
			fputs(usage, stdout);
			return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		case 'V':
			puts("skeld " SKELD_VERSION);
			return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		default:
			fputs("try: skeld --help\n", stderr);
			return EX_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "skeld: unexpected argument '%s'\ntry: skeld --help\n",
			argv[optind]);
		return EX_USAGE;
	}
	if (modes > 1) {
		fputs("skeld: only one of -t, -T, -s and --self-test at a time\n", stderr);
		return EX_USAGE;
	}
	if (!o->runtime_dir)
		o->runtime_dir = default_runtime_dir(o);
	bool named = o->runtime_dir && *o->runtime_dir;
	if (!named && (o->mode == MODE_RUN || o->mode == MODE_SIGNAL)) {
		fputs("skeld: no runtime directory: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR "
		      "names one, give one with -r DIR\n",
		      stderr);
		return EX_USAGE;
	}
	return -1;
}

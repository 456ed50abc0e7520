/* The table of contents. What happens on SIGHUP is in control/signals.c. */
#include "control/command.h"
#include "control/daemon.h"
#include "control/selftest.h"

int main(int argc, char **argv)
{
	struct options options;

	signals_block();
	command_open_standard_files();
	int code = options_parse(&options, argc, argv);
	if (code >= 0)
		return code;

	switch (options.mode) {
	case MODE_CHECK:
	case MODE_DUMP:
		return command_check(&options, &service);
	case MODE_SIGNAL:
		return command_signal(&options);
	case MODE_SELF_TEST:
		return selftest_run(&options, &service);
	case MODE_RUN:
		break;
	}
	return daemon_run(&options, &service, NULL);
}

/* The table of contents. What happens on SIGHUP is in control/signals.c. */
#include "cli/commands.h"
#include "cli/selftest.h"
#include "control/daemon.h"
#include "control/signals.h"

int main(int argc, char **argv)
{
	struct arguments a;

	signals_block();
	command_open_standard_files();
	int code = arguments_parse(&a, argc, argv);
	if (code >= 0)
		return code;

	switch (a.mode) {
	case MODE_CHECK:
	case MODE_DUMP:
		return command_check(&a, &service);
	case MODE_SIGNAL:
		return command_signal(&a);
	case MODE_VERSION:
		return command_version(&service);
	case MODE_SELF_TEST:
		return selftest_run(&a, &service);
	case MODE_RUN:
		break;
	}
	return daemon_run(&(struct daemon_settings){a.config_file, a.runtime_dir}, &service, NULL);
}

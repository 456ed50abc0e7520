/* cli/arguments: the command line. */
#include "cli/arguments.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static struct arguments o;

static void setup(void)
{
	fixture_enter();
	MUST(unsetenv("RUNTIME_DIRECTORY") == 0);
	MUST(setenv("XDG_RUNTIME_DIR", "/run/user/7", 1) == 0);
}

TestSuite(arguments, .init = setup, .fini = fixture_leave);

/* Parse `skeld ARGS`, separated by single spaces. The output goes to files "out" and "err". */
static int parse(const char *args)
{
	static char line[512];
	char *argv[16] = {"/usr/sbin/another"}, *rest = line, *word;
	int argc = 1, saved[2];
	snprintf(line, sizeof(line), "%s", args);
	while ((word = strsep(&rest, " ")))
		if (*word)
			argv[argc++] = word;
	static const char *const files[] = {"out", "err"};
	for (int i = 0; i < 2; i++) {
		MUST(unlink(files[i]) == 0 || errno == ENOENT);
		int fd = open(files[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		saved[i] = fcntl(1 + i, F_DUPFD_CLOEXEC, 0);
		MUST(fd >= 0 && saved[i] >= 0 && dup2(fd, 1 + i) >= 0);
		close(fd);
	}
	optind = 0; /* getopt(3): start again */
	int code = arguments_parse(&o, argc, argv);
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		MUST(dup2(saved[i], 1 + i) >= 0);
		close(saved[i]);
	}
	return code;
}

static void expect_mode(const char *args, enum mode mode)
{
	cr_assert_eq(parse(args), -1, "%s", args);
	cr_assert_eq(o.mode, mode, "%s", args);
}

static void expect_text(const char *file, const char *part)
{
	const char *text = file_text(file);
	cr_assert(*part ? strstr(text, part) != NULL : !*text, "%s", text);
}

static void expect_usage_error(const char *args, const char *error)
{
	cr_assert_eq(parse(args), EX_USAGE, "%s", args);
	expect_text("out", "");
	expect_text("err", error);
	cr_assert_eq(strncmp(file_text("err"), "skeld: ", 7), 0, "%s", file_text("err"));
}

Test(arguments, no_arguments_mean_run)
{
	expect_mode("", MODE_RUN);
	cr_assert_str_eq(o.config_file, DEFAULT_CONFIG);
	cr_assert_not(o.config_given);
	cr_assert_null(o.argument);
	EXPECT_NOTHING_LEFT();
}

Test(arguments, each_option_has_a_short_and_a_long_form)
{
	static const char *const config[] = {"-c a.conf", "-ca.conf", "--config a.conf",
					     "--config=a.conf", "--conf=a.conf"};
	for (size_t i = 0; i < 5; i++) {
		expect_mode(config[i], MODE_RUN);
		cr_assert_str_eq(o.config_file, "a.conf");
		cr_assert(o.config_given);
	}
	static const char *const runtime[] = {"-r dir", "--runtime-dir dir", "--runtime-dir=dir"};
	for (size_t i = 0; i < 3; i++) {
		expect_mode(runtime[i], MODE_RUN);
		cr_assert_str_eq(o.runtime_dir, "dir");
	}
	expect_mode("-t", MODE_CHECK);
	expect_mode("--check", MODE_CHECK);
	expect_mode("-T", MODE_DUMP);
	expect_mode("--dump-config", MODE_DUMP);
	expect_mode("-s reload", MODE_SIGNAL);
	cr_assert_str_eq(o.argument, "reload");
	expect_mode("--signal=stop -r dir -c a.conf", MODE_SIGNAL);
	cr_assert_str_eq(o.argument, "stop");
	cr_assert_str_eq(o.runtime_dir, "dir");
	cr_assert_str_eq(o.config_file, "a.conf");
	expect_mode("--self-test", MODE_SELF_TEST);
	cr_assert_null(o.argument);
	expect_mode("--self-test=order,storm", MODE_SELF_TEST);
	cr_assert_str_eq(o.argument, "order,storm");
	EXPECT_NOTHING_LEFT();
}

Test(arguments, help_and_version_end_the_command_line)
{
	static const char *const help[] = {"-h", "--help", "-t --help", "-h --nonsense"};
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(parse(help[i]), 0);
		expect_text("out", "usage: skeld");
		expect_text("out", "default " DEFAULT_CONFIG);
		expect_text("err", "");
	}
	static const char *const version[] = {"-V", "--version", "-t -V", "-V --nonsense"};
	for (size_t i = 0; i < 4; i++)
		expect_mode(version[i], MODE_VERSION);
	EXPECT_NOTHING_LEFT();
}

Test(arguments, wrong_usage_exits_with_64)
{
	expect_usage_error("-x", "x");
	expect_usage_error("--nonsense", "nonsense");
	expect_usage_error("-c", "c");
	expect_usage_error("-s", "s");
	expect_usage_error("--config", "config");
	expect_usage_error("--check=yes", "check");
	expect_usage_error("--s", "ambiguous");
	expect_usage_error("reload", "unexpected argument 'reload'");
	expect_mode("-t --", MODE_CHECK);
	EXPECT_NOTHING_LEFT();
}

Test(arguments, only_one_mode_is_accepted)
{
	static const char *const two[] = {"-t -T", "-s reload -t", "--self-test -T", "-t -t",
					  "-s stop --self-test"};
	for (size_t i = 0; i < sizeof(two) / sizeof(*two); i++)
		expect_usage_error(two[i], "only one of -t, -T, -s and --self-test");
	EXPECT_NOTHING_LEFT();
}

/* Become an unprivileged user, if this process is root. */
static void use_unprivileged_user(void)
{
	MUST(geteuid() != 0 || (chmod(".", 0777) == 0 && seteuid(65534) == 0));
}

static void restore_user(void)
{
	MUST(seteuid(getuid()) == 0);
}

Test(arguments, the_first_known_runtime_directory_is_used)
{
	MUST(setenv("RUNTIME_DIRECTORY", "/run/a:/run/b", 1) == 0);
	expect_mode("-r /run/given", MODE_RUN);
	cr_assert_str_eq(o.runtime_dir, "/run/given");
	expect_mode("", MODE_RUN);
	cr_assert_str_eq(o.runtime_dir, "/run/a");
	static const char *const unset[] = {NULL, ""};
	for (size_t i = 0; i < 2; i++) {
		if (unset[i])
			MUST(setenv("RUNTIME_DIRECTORY", unset[i], 1) == 0);
		else
			MUST(unsetenv("RUNTIME_DIRECTORY") == 0);
		if (getuid() == 0) {
			expect_mode("", MODE_RUN);
			cr_assert_str_eq(o.runtime_dir, "/run/skeld");
		}
		use_unprivileged_user();
		expect_mode("", MODE_RUN);
		cr_assert_str_eq(o.runtime_dir, "/run/user/7/skeld");
		restore_user();
	}
	EXPECT_NOTHING_LEFT();
}

Test(arguments, running_without_a_runtime_directory_is_an_error)
{
	MUST(unsetenv("XDG_RUNTIME_DIR") == 0);
	use_unprivileged_user();
	expect_usage_error("", "no runtime directory");
	MUST(setenv("XDG_RUNTIME_DIR", "", 1) == 0);
	expect_usage_error("", "no runtime directory");
	expect_usage_error("-s reload", "no runtime directory");
	expect_mode("-t", MODE_CHECK);
	cr_assert_null(o.runtime_dir);
	expect_mode("-T", MODE_DUMP);
	expect_mode("--self-test", MODE_SELF_TEST);
	expect_mode("-r dir", MODE_RUN);
	restore_user();
	EXPECT_NOTHING_LEFT();
}

/* "" could mean the root directory, and a truncated name the directory of another daemon. */
Test(arguments, empty_or_too_long_runtime_directories_are_rejected)
{
	static char name[4200];
	memset(name, 'x', sizeof(name) - 1);
	*name = '/';
	expect_usage_error("-r= -s status --runtime-dir=", "no runtime directory");
	MUST(setenv("RUNTIME_DIRECTORY", ":/run/b", 1) == 0);
	expect_usage_error("", "no runtime directory");
	expect_usage_error("-s stop", "no runtime directory");
	MUST(setenv("RUNTIME_DIRECTORY", name, 1) == 0);
	expect_usage_error("", "no runtime directory");
	name[4095] = '\0';
	MUST(setenv("RUNTIME_DIRECTORY", name, 1) == 0);
	expect_mode("", MODE_RUN);
	cr_assert_str_eq(o.runtime_dir, name);
	EXPECT_NOTHING_LEFT();
}

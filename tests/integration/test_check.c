/* -t finds what would fail the start, and what a reader of the file would not see. */
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

DAEMON_SUITE(check);

/* Expect that -t rejects TEXT with this LINE (without the directory) on standard error. */
static void expect_rejected_text(const char *text, const char *line)
{
	char located[512];
	file_write("skeld.conf", text);
	int code = skeld_run("-t", "-c", config_path, NULL);
	snprintf(located, sizeof(located), "%s/%s", test_dir, line);
	cr_assert_eq(code, 78, "exit code %d of:\n%s\n%s", code, text, command_err.bytes);
	cr_assert(strstr(command_err.bytes, located), "not reported: %s\n%s", located,
		  command_err.bytes);
}

/* Expect that -T accepts TEXT, and that its output has LINE. */
static void expect_accepted(const char *text, const char *line)
{
	file_write("skeld.conf", text);
	int code = skeld_run("-T", "-c", config_path, NULL);
	cr_assert_eq(code, 0, "exit code %d of:\n%s\n%s", code, text, command_err.bytes);
	cr_assert(strstr(command_out.bytes, line), "no %s in:\n%s", line, command_out.bytes);
}

Test(check, unset_variable_is_an_error_that_names_it)
{
	unsetenv("UNSET");
	expect_rejected_text("# a comment\nuser = \"${UNSET}\"\n",
			     "skeld.conf:2: environment variable UNSET");
	expect_rejected_text("user = ${UNSET}\n", "skeld.conf:1: environment variable UNSET");
	expect_rejected_text("listen \"a\" {\n\taddress = \"127.0.0.1:${UNSET}\"\n}\n",
			     "skeld.conf:2: environment variable UNSET");
	expect_rejected_text("listen \"${UNSET}\" { }\n",
			     "skeld.conf:1: environment variable UNSET");
	expect_rejected_text("user = ${UNSET:x}\n", "skeld.conf:1: environment variable UNSET:x");
}

Test(check, all_unset_variables_are_reported_together)
{
	unsetenv("UNSET");
	unsetenv("UNSET_TOO");
	expect_rejected_text("echo {\n\tbanner = \"${UNSET}${UNSET_TOO}\"\n}\n",
			     "skeld.conf:2: environment variable UNSET is");
	cr_assert(strstr(command_err.bytes, "skeld.conf:2: environment variable UNSET_TOO is"),
		  "%s", command_err.bytes);
}

Test(check, variable_with_a_default_or_an_empty_value_is_accepted)
{
	unsetenv("UNSET");
	setenv("EMPTY", "", 1);
	setenv("FULL", "full", 1);
	expect_accepted("echo { banner = \"a${UNSET:-b}c\" }\n", "banner = \"abc\"");
	expect_accepted("echo { banner = \"a${UNSET:-}c\" }\n", "banner = \"ac\"");
	expect_accepted("echo { banner = ${UNSET:-b} }\n", "banner = \"b\"");
	expect_accepted("echo { banner = \"a${EMPTY}c\" }\n", "banner = \"ac\"");
	expect_accepted("echo { banner = \"a${FULL}c\" }\n", "banner = \"afullc\"");
}

Test(check, a_variable_in_a_comment_or_in_single_quotes_needs_no_value)
{
	unsetenv("UNSET");
	expect_accepted("# ${UNSET}\necho { banner = '${UNSET}' }\n", "banner = \"\\${UNSET}\"");
	expect_accepted("echo { banner = \"\\${UNSET}\" } // ${UNSET}\n",
			"banner = \"\\${UNSET}\"");
}

Test(check, carriage_returns_that_end_no_line_are_rejected)
{
	expect_rejected_text("# one\rworkers = 1\r\n", "skeld.conf:1: carriage return (0x0d)");
	expect_rejected_text("workers = 1\n# two\rlame_duck = 1\n",
			     "skeld.conf:2: carriage return (0x0d)");
	expect_rejected_text("workers = 1\r", "skeld.conf:1: carriage return (0x0d)");
	expect_accepted("# one\r\nworkers = 1\r\n", "workers = 1");
}

Test(check, a_byte_order_mark_is_accepted_at_the_beginning_only)
{
	expect_accepted("\xef\xbb\xbfworkers = 7\n", "workers = 7");
	expect_rejected_text("workers = 7\n\xef\xbb\xbflame_duck = 1\n",
			     "skeld.conf:2: character outside of ASCII (bytes ef bb bf)");
}

Test(check, characters_that_look_like_others_are_rejected_with_their_bytes)
{
	expect_rejected_text("workers =\xc2\xa0"
			     "1\n",
			     "skeld.conf:1: character outside of ASCII (bytes c2 a0)");
	expect_rejected_text("workers\xc2\xa0= 1\n",
			     "skeld.conf:1: character outside of ASCII (bytes c2 a0)");
	expect_rejected_text("\nuser = \xe2\x80\x9cnobody\xe2\x80\x9d\n",
			     "skeld.conf:2: character outside of ASCII (bytes e2 80 9c)");
	expect_rejected_text("user = \xff\n",
			     "skeld.conf:1: character outside of ASCII (bytes ff)");
	expect_accepted("# \xc2\xa0\necho { banner = \"\xc2\xa0\" }\n", "banner = \"\xc2\xa0\"");
}

Test(check, unknown_user_or_group_is_an_error_with_its_line)
{
	expect_rejected_text("workers = 1\nuser = \"no-such-user\"\n",
			     "skeld.conf:2: user = \"no-such-user\": expected an existing user");
	expect_rejected_text("\n\ngroup = \"no-such-group\"\n",
			     "skeld.conf:3: group = \"no-such-group\": expected an existing group");
	expect_rejected_text("user = \"4294967295\"\n", "skeld.conf:1: user = \"4294967295\"");
	expect_rejected_text("user = \"-1\"\n", "skeld.conf:1: user = \"-1\"");
	expect_accepted("user = \"root\"\n", "user = \"root\"");
	expect_accepted("user = \"65000\"\ngroup = \"65001\"\n", "group = \"65001\"");
}

Test(check, missing_log_directory_is_an_error_with_its_line)
{
	expect_rejected_text(
		"log {\n\ttarget = \"file\"\n\tfile = \"/no/such/directory/x.log\"\n}\n",
		"skeld.conf:4: log.file = \"/no/such/directory/x.log\"");
	expect_rejected_text("log {\n\ttarget = \"file\"\n\tfile = \"/dev/null/x.log\"\n}\n",
			     "skeld.conf:4: log.file");
	expect_accepted("log { target = \"file\" file = \"/x.log\" }\n", "file = \"/x.log\"");
	expect_accepted("log { target = \"stderr\" file = \"/no/such/directory/x.log\" }\n",
			"target = \"stderr\"");
}

/* The start would fail with exit code 1, which a service manager takes as a reason to try again. */
Test(check, a_log_file_that_can_be_no_file_is_an_error)
{
	char text[1024];
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	close(fd);
	snprintf(text, sizeof(text), "log { target = \"file\" file = \"%s/socket\" }\n", test_dir);
	expect_rejected_text(text, "skeld.conf:1: log.file");
	snprintf(text, sizeof(text), "log { target = \"file\" file = \"%s\" }\n", test_dir);
	expect_rejected_text(text, "skeld.conf:1: log.file");
	snprintf(text, sizeof(text), "log { target = \"file\" file = \"%s/%0300d\" }\n", test_dir,
		 0);
	expect_rejected_text(text, "skeld.conf:1: log.file");
	expect_rejected_text("log { target = \"file\" file = \"/\" }\n",
			     "skeld.conf:1: log.file = \"/\"");
	expect_accepted("log { target = \"file\" file = \"/dev/null\" }\n", "\"/dev/null\"");
}

Test(check, a_mistake_in_an_address_is_named_with_its_section)
{
	expect_rejected_text(
		"listen \"one\" {\n\taddress = \"localhost:80\"\n}\n",
		"skeld.conf:2: listen.address = \"localhost:80\": expected an IP "
		"address, such as 127.0.0.1: host names are not looked up here (listen "
		"\"one\")\n");
	expect_rejected_text(
		"admin { address = \"::1:80\" }\n",
		"skeld.conf:1: admin.address = \"::1:80\": expected brackets around the "
		"IPv6 address: [::1]:80\n");
	expect_rejected_text(
		"listen \"a\" {\n\taddress = \"unix:x\"\n}\n",
		"skeld.conf:2: listen.address = \"unix:x\": expected an absolute path");
}

static void expect_start_fails(const char *config, int code, const char *part)
{
	config_write("%s", config);
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), code, "%s", log_text());
	cr_assert(log_contains(part), "%s", log_text());
}

Test(check, errors_of_the_check_fail_the_start_with_the_same_code)
{
	expect_start_fails(BASE "user = \"no-such-user\"\n", 78,
			   "skeld.conf:4: user = \"no-such-user\"");
	expect_start_fails(BASE "log { target = \"file\" file = \"/no/such/x.log\" }\n", 78,
			   "skeld.conf:4: log.file");
}

Test(check, an_interface_that_is_missing_is_no_error_of_the_configuration)
{
	static const char config[] = "admin { address = \"\" }\nlisten \"a\" {\n\taddress = "
				     "\"[fe80::1%nosuch0]:7007\"\n}\n";
	expect_accepted(config, "address = \"[fe80::1%nosuch0]:7007\"");
	expect_start_fails(config, 1,
			   "skeld.conf:4: cannot listen on [fe80::1%nosuch0]:7007 (listen \"a\")");
	expect_rejected_text("listen \"a\" { address = \"[fe80::1%]:7007\" }\n",
			     "skeld.conf:1: listen.address");
	expect_rejected_text("listen \"a\" { address = \"[::1%nosuch0]:7007\" }\n",
			     "skeld.conf:1: listen.address");
}

Test(check, an_address_that_is_missing_fails_the_start_and_is_named)
{
	/* RFC 5737: no machine has this address. */
	static const char config[] =
		"admin { address = \"\" }\nlisten \"a\" {\n\taddress = \"192.0.2.1:7007\"\n}\n";
	expect_start_fails(config, 1,
			   "skeld.conf:4: cannot listen on 192.0.2.1:7007 (listen \"a\")");
}

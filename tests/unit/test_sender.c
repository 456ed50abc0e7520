/* control/sender: the description of the sender of a signal. */
#include "control/sender.h"
#include "fixture.h"

#include <errno.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(sender, .init = fixture_enter, .fini = fixture_leave);

static struct sender_cache cache;

static void expect(struct signal_arrival a, const char *expected)
{
	char is[SENDER_MAX];
	memset(is, '#', sizeof(is));
	sender_describe(&a, &cache, is);
	cr_assert_str_eq(is, expected, "%s", is);
}

/* "user NAME" of /etc/passwd, or "uid N". 65534 is the uid of all unmapped users. */
static const char *user_of(uid_t uid)
{
	static char text[128];
	if (uid == 65534)
		return "unknown user";
	snprintf(text, sizeof(text), "uid %u%s", (unsigned)uid,
		 uid == getuid() ? ", the user of this daemon" : "");
	FILE *in = fopen("/etc/passwd", "re");
	for (const struct passwd *entry; in && (entry = fgetpwent(in));)
		if (entry->pw_uid == uid) {
			snprintf(text, sizeof(text), "user %s", entry->pw_name);
			break;
		}
	if (in)
		fclose(in);
	return text;
}

Test(sender, the_sender_has_a_pid_a_command_and_a_user)
{
	char expected[SENDER_MAX];
	MUST(prctl(PR_SET_NAME, "a (strange) one") == 0);
	snprintf(expected, sizeof(expected), "pid %d (a (strange) one), %s", (int)getpid(),
		 user_of(getuid()));
	expect((struct signal_arrival){.code = SI_USER, .pid = getpid(), .uid = getuid()},
	       expected);
	expect((struct signal_arrival){.code = SI_TKILL, .pid = getpid(), .uid = getuid()},
	       expected);
	EXPECT_NOTHING_LEFT();
}

Test(sender, control_characters_in_a_command_are_escaped)
{
	char expected[SENDER_MAX];
	MUST(prctl(PR_SET_NAME, "\x1b[2J\xff\r\"\xc3\xbc\t") == 0);
	snprintf(expected, sizeof(expected), "pid %d (\\x1b[2J\\xff\\x0d\"\xc3\xbc\\x09), %s",
		 (int)getpid(), user_of(getuid()));
	expect((struct signal_arrival){.pid = getpid(), .uid = getuid()}, expected);
	EXPECT_NOTHING_LEFT();
}

Test(sender, users_come_from_etc_passwd)
{
	char expected[SENDER_MAX];
	static const uid_t uids[] = {0, 1, 0, 4000000000, 0};
	for (size_t i = 0; i < sizeof(uids) / sizeof(*uids); i++) {
		MUST(prctl(PR_SET_NAME, "x") == 0);
		snprintf(expected, sizeof(expected), "pid %d (x), %s", (int)getpid(),
			 user_of(uids[i]));
		expect((struct signal_arrival){.pid = getpid(), .uid = uids[i]}, expected);
	}
	cr_assert(strstr(expected, ", user root"), "%s", expected);
	EXPECT_NOTHING_LEFT();
}

/* fgetpwent_r(3) would never get past this line. */
Test(sender, a_long_line_in_etc_passwd_is_skipped)
{
	enum { LONG = 5000 };
	char text[LONG + 128];
	int n = snprintf(text, sizeof(text),
			 "long:x:7:7:%0*d:/:/bin/sh\nempty:x::1:::\nlate:x:77:77:::\n", LONG, 0);
	cr_assert_lt((size_t)n, sizeof(text));
	file_write("passwd", text);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("passwd", "/etc/passwd", NULL, MS_BIND, NULL) < 0)
		cr_skip_test("mounts are not allowed here");
	deadline(); /* a hang ends the test */
	MUST(prctl(PR_SET_NAME, "x") == 0);
	static const struct {
		uid_t uid;
		const char *name;
	} users[] = {{77, "user late"}, {7, "user long"}, {78, "uid 78"}};
	for (size_t i = 0; i < sizeof(users) / sizeof(*users); i++) {
		char expected[SENDER_MAX];
		snprintf(expected, sizeof(expected), "pid %d (x), %s", (int)getpid(),
			 users[i].name);
		expect((struct signal_arrival){.pid = getpid(), .uid = users[i].uid}, expected);
	}
	umount("/etc/passwd");
}

Test(sender, the_user_of_the_daemon_is_named_as_such_if_it_has_no_name)
{
	char expected[SENDER_MAX];
	file_write("passwd", "");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("passwd", "/etc/passwd", NULL, MS_BIND, NULL) < 0)
		cr_skip_test("mounts are not allowed here");
	MUST(prctl(PR_SET_NAME, "x") == 0);
	snprintf(expected, sizeof(expected), "pid %d (x), uid %u, the user of this daemon",
		 (int)getpid(), (unsigned)getuid());
	expect((struct signal_arrival){.pid = getpid(), .uid = getuid()}, expected);
	snprintf(expected, sizeof(expected), "pid %d (x), uid %u", (int)getpid(),
		 (unsigned)getuid() + 1);
	expect((struct signal_arrival){.pid = getpid(), .uid = getuid() + 1}, expected);
	umount("/etc/passwd");
}

Test(sender, an_exited_sender_has_no_command)
{
	char expected[SENDER_MAX];
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	MUST(waitpid(child, NULL, 0) == child);
	snprintf(expected, sizeof(expected), "pid %d (exited or hidden), user root", (int)child);
	expect((struct signal_arrival){.pid = child, .uid = 0}, expected);
	EXPECT_NOTHING_LEFT();
}

Test(sender, unmapped_users_and_pids_are_reported_as_unknown)
{
	char expected[SENDER_MAX];
	expect((struct signal_arrival){.pid = 0, .uid = 0}, "a process in another pid namespace");
	expect((struct signal_arrival){.code = SI_KERNEL, .pid = 0, .uid = 0}, "the terminal");
	MUST(prctl(PR_SET_NAME, "x") == 0);
	snprintf(expected, sizeof(expected), "pid %d (x), unknown user", (int)getpid());
	expect((struct signal_arrival){.pid = getpid(), .uid = 65534}, expected);
	EXPECT_NOTHING_LEFT();
}

Test(sender, the_longest_description_fits)
{
	char is[SENDER_MAX];
	MUST(prctl(PR_SET_NAME, "123456789012345") == 0);
	sender_describe(&(struct signal_arrival){.pid = getpid(), .uid = UINT32_MAX - 1}, &cache,
			is);
	cr_assert(strstr(is, " (123456789012345), uid 4294967294"), "%s", is);
	EXPECT_NOTHING_LEFT();
}

/* The caller of sigqueue(3) chooses the pid and the user. */
Test(sender, the_sender_of_a_queued_signal_is_marked_as_not_verified)
{
	static const struct {
		int code;
		const char *end;
	} codes[] = {{SI_USER, "user root"},
		     {SI_TKILL, "user root"},
		     {SI_QUEUE, "user root, not verified"},
		     {SI_MESGQ, "user root, not verified"}};
	char expected[SENDER_MAX];
	MUST(prctl(PR_SET_NAME, "x") == 0);
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		snprintf(expected, sizeof(expected), "pid %d (x), %s", (int)getpid(), codes[i].end);
		expect((struct signal_arrival){.code = codes[i].code, .pid = getpid(), .uid = 0},
		       expected);
	}
	EXPECT_NOTHING_LEFT();
}

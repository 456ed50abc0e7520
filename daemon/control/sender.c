#include "control/sender.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The kernel shows this user for those that have no number here (user_namespaces(7)). */
enum { OVERFLOW_UID = 65534 };

static void describe_user(uid_t uid, char *out, size_t size)
{
	if (uid == OVERFLOW_UID) {
		snprintf(out, size, "a user unknown here");
		return;
	}
	snprintf(out, size, "uid %u", (unsigned)uid);
	FILE *in = fopen("/etc/passwd", "re");
	struct passwd entry, *found;
	char buffer[1024];
	while (in && fgetpwent_r(in, &entry, buffer, sizeof(buffer), &found) == 0)
		if (entry.pw_uid == uid) {
			snprintf(out, size, "user %s", entry.pw_name);
			break;
		}
	if (in)
		fclose(in);
}

void sender_describe(const struct arrival *a, char out[SENDER_MAX])
{
	char path[64], comm[64] = "", user[64];
	if (a->code == SI_KERNEL) {
		snprintf(out, SENDER_MAX, "the terminal");
		return;
	}
	if (a->pid == 0) {
		snprintf(out, SENDER_MAX, "a process outside of this pid namespace");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)a->pid);
	FILE *in = fopen(path, "re");
	if (in && fgets(comm, sizeof(comm), in))
		comm[strcspn(comm, "\n")] = '\0';
	if (in)
		fclose(in);
	describe_user(a->uid, user, sizeof(user));
	snprintf(out, SENDER_MAX, "pid %d (%s), %s", (int)a->pid, *comm ? comm : "gone or hidden",
		 user);
}

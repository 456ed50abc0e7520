#include "control/sender.h"

#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The uid of users without a mapping in this user namespace, user_namespaces(7). */
enum { OVERFLOW_UID = 65534 };

static void read_user(struct sender_cache *cache, uid_t uid)
{
	cache->uid = uid;
	/* DynamicUser= of systemd: only the service itself has this user, which is in no file. */
	snprintf(cache->name, sizeof(cache->name), "uid %u%s", (unsigned)uid,
		 uid == getuid() ? ", the user of this daemon" : "");
	/* Not fgetpwent_r(3): it never gets past a line that is longer than its buffer. */
	FILE *in = fopen("/etc/passwd", "re");
	char *line = NULL, *end;
	size_t room = 0;
	while (in && getline(&line, &room, in) > 0) { /* name:password:uid:..., passwd(5) */
		char *password = strchr(line, ':');
		const char *number = password ? strchr(password + 1, ':') : NULL;
		if (!number || strtoul(number + 1, &end, 10) != uid || *end != ':' ||
		    end == number + 1)
			continue;
		*password = '\0';
		snprintf(cache->name, sizeof(cache->name), "user %s", line);
		break;
	}
	free(line);
	if (in)
		fclose(in);
}

static void read_comm(pid_t pid, char out[64])
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, 63);
	if (fd >= 0)
		close(fd);
	out[n < 0 ? 0 : n] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

void sender_describe(const struct signal_arrival *a, struct sender_cache *cache,
		     char out[SENDER_MAX])
{
	char comm[64], text[SENDER_MAX];
	if (a->code == SI_KERNEL) {
		snprintf(out, SENDER_MAX, "the terminal");
		return;
	}
	if (a->pid == 0) {
		snprintf(out, SENDER_MAX, "a process in another pid namespace");
		return;
	}
	read_comm(a->pid, comm);
	if (a->uid != OVERFLOW_UID && (!*cache->name || cache->uid != a->uid))
		read_user(cache, a->uid);
	/* The kernel fills in the sender of kill(2); the caller of sigqueue(3) fills in its own. */
	bool verified = a->code >= 0 || a->code == SI_TKILL;
	snprintf(text, sizeof(text), "pid %d (%s), %s%s", (int)a->pid,
		 *comm ? comm : "exited or hidden",
		 a->uid == OVERFLOW_UID ? "unknown user" : cache->name,
		 verified ? "" : ", not verified");
	text_escape(out, SENDER_MAX, text, strlen(text)); /* a process chooses its name freely */
}

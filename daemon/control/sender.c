#include "control/sender.h"

#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel shows this user for those that have no number here (user_namespaces(7)). */
enum { OVERFLOW_UID = 65534 };

static void look_up(struct sender_cache *cache, uid_t uid)
{
	cache->uid = uid;
	snprintf(cache->name, sizeof(cache->name), "uid %u", (unsigned)uid);
	/* By hand: fgetpwent_r(3) stays for ever before a line that is too long for its buffer. */
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

void sender_describe(const struct arrival *a, struct sender_cache *cache, char out[SENDER_MAX])
{
	char comm[64], text[SENDER_MAX];
	if (a->code == SI_KERNEL) {
		snprintf(out, SENDER_MAX, "the terminal");
		return;
	}
	if (a->pid == 0) {
		snprintf(out, SENDER_MAX, "a process outside of this pid namespace");
		return;
	}
	read_comm(a->pid, comm);
	if (a->uid != OVERFLOW_UID && (!*cache->name || cache->uid != a->uid))
		look_up(cache, a->uid);
	/* The kernel fills in who has called kill(2), not who has queued it, sigqueue(3). */
	bool vouched = a->code >= 0 || a->code == SI_TKILL;
	snprintf(text, sizeof(text), "pid %d (%s), %s%s", (int)a->pid,
		 *comm ? comm : "gone or hidden",
		 a->uid == OVERFLOW_UID ? "a user unknown here" : cache->name,
		 vouched ? "" : ", as it says");
	text_escape(out, SENDER_MAX, text, strlen(text)); /* a process calls itself as it likes */
}

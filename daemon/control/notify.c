#include "control/notify.h"

#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void notify_open(struct notify *n)
{
	*n = (struct notify){.fd = -1, .address = {.sun_family = AF_UNIX}};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;
	if (length && (*path == '/' || *path == '@') && length < sizeof(n->address.sun_path)) {
		memcpy(n->address.sun_path, path, length);
		/* An abstract address begins with a NUL, and is exactly as long as it is. */
		if (*path == '@')
			n->address.sun_path[0] = '\0';
		n->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	if (length && n->fd < 0)
		log_warning("cannot tell the service manager anything: NOTIFY_SOCKET=%s: %s", path,
			    n->length ? strerror(errno) : "expected /path or @name");
	unsetenv("NOTIFY_SOCKET");
	const char *stores = getenv("FDSTORE");
	n->stores = n->fd >= 0 && stores && strtol(stores, NULL, 10) > 0;
	unsetenv("FDSTORE");
}

/* Microseconds. What is no number, or could never be kept, is no watchdog. */
static double watchdog_seconds(const char *usec)
{
	enum { LEAST = 1000 };
	char *end;
	errno = 0;
	unsigned long long n = strtoull(usec, &end, 10);
	if (usec[strspn(usec, "0123456789")] == '\0' && *usec && !errno && n >= LEAST)
		return (double)n / 1e6;
	log_warning("no watchdog: WATCHDOG_USEC=%s: expected a whole number from %d", usec, LEAST);
	return 0;
}

double notify_watchdog(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	bool ours = usec && (!pid || strtol(pid, NULL, 10) == (long)getpid());
	double seconds = ours ? watchdog_seconds(usec) : 0;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return seconds;
}

void notify_retry(struct notify *n)
{
	size_t length = strlen(n->owed);
	if (n->fd < 0 || !length)
		return;
	ssize_t r = sendto(n->fd, n->owed, length, MSG_DONTWAIT | MSG_NOSIGNAL,
			   (struct sockaddr *)&n->address, n->length);
	if (r < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return;
	if (r < 0 && !n->warned)
		log_warning("cannot tell the service manager \"%s\": %s; told once, until it hears "
			    "us again",
			    n->owed, strerror(errno));
	n->warned = r < 0;
	n->owed[0] = '\0';
}

/* The line of KEY= (or this text), which LENGTH bytes of LINE are, is removed from LINES. */
static void forget(char *lines, const char *key, size_t length)
{
	for (char *line = lines, *next; *line; line = next) {
		next = line + strcspn(line, "\n");
		next += *next == '\n';
		if (strncmp(line, key, length) == 0) {
			memmove(line, next, strlen(next) + 1);
			next = line;
		}
	}
	size_t left = strlen(lines);
	if (left && lines[left - 1] == '\n')
		lines[left - 1] = '\0';
}

void notify_send(struct notify *n, const char *format, ...)
{
	if (n->fd < 0)
		return;
	char text[NOTIFY_MAX / 2];
	va_list ap;
	va_start(ap, format);
	int length = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (length < 0)
		return;
	/*
	 * Two messages in one datagram: of two lines with the same key systemd takes the first, but
	 * of RELOADING=1, READY=1 and STOPPING=1 the last. So the newest of each key stays, at its
	 * place; and what is owed has an end, for there are few keys and one of them is long.
	 */
	for (const char *line = text; *line;) {
		size_t whole = strcspn(line, "\n"), key = strcspn(line, "=\n");
		forget(n->owed, line, key + (line[key] == '='));
		line += whole + (line[whole] == '\n');
	}
	size_t used = strlen(n->owed);
	snprintf(n->owed + used, sizeof(n->owed) - used, "%s%s", used ? "\n" : "", text);
	notify_retry(n);
}

bool notify_store(struct notify *n, const char *name, const int *fds, size_t n_fds)
{
	enum { MOST = 253 }; /* SCM_MAX_FD, unix(7) */
	char text[300];
	union {
		struct cmsghdr aligned;
		char bytes[CMSG_SPACE(MOST * sizeof(int))];
	} control = {0};
	if (n->fd < 0)
		return false;
	if (n_fds > MOST) {
		log_warning("cannot have the service manager keep the socket %s: a message takes "
			    "%d descriptors",
			    name, MOST);
		return false;
	}
	int length = snprintf(text, sizeof(text), "%s=1\nFDNAME=%s",
			      n_fds ? "FDSTORE" : "FDSTOREREMOVE", name);
	struct iovec data = {text, (size_t)length};
	struct msghdr message = {.msg_name = &n->address,
				 .msg_namelen = n->length,
				 .msg_iov = &data,
				 .msg_iovlen = 1};
	if (n_fds) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
	}
	if (sendmsg(n->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	log_warning("cannot have the service manager %s the socket %s: %s",
		    n_fds ? "keep" : "forget", name, strerror(errno));
	return false;
}

void notify_close(struct notify *n)
{
	notify_retry(n);
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

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
		/* An abstract address begins with a NUL; its length is part of it, unix(7). */
		if (*path == '@')
			n->address.sun_path[0] = '\0';
		n->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	if (length && n->fd < 0)
		log_warning("cannot notify the service manager: NOTIFY_SOCKET=\"%s\": %s", path,
			    n->length ? strerror(errno) : "expected /path or @name");
	unsetenv("NOTIFY_SOCKET");
	const char *stores = getenv("FDSTORE");
	n->stores = n->fd >= 0 && stores && strtol(stores, NULL, 10) > 0;
	unsetenv("FDSTORE");
}

/* USEC is in microseconds. Returns 0 if it is not a number or too small to be met. */
static double watchdog_seconds(const char *usec)
{
	enum { MIN_USEC = 1000 };
	char *end;
	errno = 0;
	unsigned long long n = strtoull(usec, &end, 10);
	if (usec[strspn(usec, "0123456789")] == '\0' && *usec && !errno && n >= MIN_USEC)
		return (double)n / 1e6;
	log_warning(
		"watchdog disabled: WATCHDOG_USEC=\"%s\": expected a whole number of at least %d",
		usec, MIN_USEC);
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
	size_t length = strlen(n->pending);
	if (n->fd < 0 || !length)
		return;
	ssize_t r = sendto(n->fd, n->pending, length, MSG_DONTWAIT | MSG_NOSIGNAL,
			   (struct sockaddr *)&n->address, n->length);
	if (r < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return;
	if (r < 0 && !n->warned)
		log_warning(
			"cannot notify the service manager: \"%s\": %s; further failures are not "
			"logged",
			n->pending, strerror(errno));
	n->warned = r < 0;
	n->pending[0] = '\0';
}

/* Remove each line that begins with KEY (LENGTH bytes) from LINES. */
static void remove_lines(char *lines, const char *key, size_t length)
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
	 * Messages that could not be sent are merged into one datagram. Of two lines with the same
	 * key systemd uses the first, but of RELOADING=1, READY=1 and STOPPING=1 the last. So only
	 * the newest line of each key is kept. There are few keys: the datagram stays small.
	 */
	for (const char *line = text; *line;) {
		size_t whole = strcspn(line, "\n"), key = strcspn(line, "=\n");
		remove_lines(n->pending, line, key + (line[key] == '='));
		line += whole + (line[whole] == '\n');
	}
	size_t used = strlen(n->pending);
	snprintf(n->pending + used, sizeof(n->pending) - used, "%s%s", used ? "\n" : "", text);
	notify_retry(n);
}

bool notify_store(struct notify *n, const char *name, const int *fds, size_t n_fds)
{
	enum { MAX_FDS = 253 }; /* SCM_MAX_FD, unix(7) */
	char text[300];
	union {
		struct cmsghdr aligned;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = {0};
	if (n->fd < 0)
		return false;
	if (n_fds > MAX_FDS) {
		log_warning("cannot store socket %s in the service manager: a message takes at "
			    "most %d descriptors",
			    name, MAX_FDS);
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
		message.msg_controllen = (socklen_t)CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = (socklen_t)CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
	}
	if (sendmsg(n->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	if (n_fds)
		log_warning("cannot store socket %s in the service manager: %s", name,
			    strerror(errno));
	else
		log_warning("cannot remove socket %s from the service manager: %s", name,
			    strerror(errno));
	return false;
}

void notify_close(struct notify *n)
{
	notify_retry(n);
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

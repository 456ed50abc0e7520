#include "load.h"

#include "skeleton.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 8, MESSAGE_SIZE = 16384 };

static struct sockaddr_in address_of(const char *title)
{
	char host[64];
	const char *text = listener_address(title), *port = strrchr(text, ':');
	struct sockaddr_in in = {.sin_family = AF_INET};
	MUST(port && (size_t)(port - text) < sizeof(host));
	memcpy(host, text, (size_t)(port - text));
	host[port - text] = '\0';
	in.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
	MUST(inet_pton(AF_INET, host, &in.sin_addr) == 1);
	return in;
}

struct load *load_start_at(const char *title, unsigned n,
			   void (*run)(struct load *load, unsigned i))
{
	struct load *load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(load != MAP_FAILED && n <= LOAD_PROCESSES_MAX);
	load->daemon = daemon_pid;
	load->address = address_of(title);
	for (unsigned i = 0; i < n; i++) {
		pid_t test = getpid(), pid = fork();
		MUST(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			signal(SIGPIPE, SIG_IGN);
			if (getppid() == test)
				run(load, i);
			_exit(0);
		}
		load->pid[load->n++] = pid;
	}
	return load;
}

struct load *load_start(unsigned n, void (*run)(struct load *load, unsigned i))
{
	return load_start_at("main", n, run);
}

void load_stop(struct load *load)
{
	atomic_store(&load->stop, true);
	while (load->n)
		reap(load->pid[--load->n]);
}

void load_free(struct load *load)
{
	munmap(load, sizeof(*load));
}

uint64_t load_count(const struct load *load, unsigned which)
{
	return atomic_load(&load->count[which]);
}

int load_connect(const struct load *load)
{
	const struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	do {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		if (connect(fd, (const struct sockaddr *)&load->address, sizeof(load->address)) ==
		    0)
			return fd;
		close(fd);
		/* connect(2) reports a timeout as EINPROGRESS: the backlog is full. */
	} while (errno == EINPROGRESS && !atomic_load(&load->stop));
	return -1;
}

void load_reset(int fd)
{
	const struct linger reset = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

void load_echo(struct load *load, unsigned i)
{
	static char sent[MESSAGE_SIZE], received[MESSAGE_SIZE];
	memset(sent, 'a' + (int)i, sizeof(sent));
	int fd = load_connect(load);
	while (!atomic_load(&load->stop) && send(fd, sent, sizeof(sent), 0) == sizeof(sent) &&
	       recv(fd, received, sizeof(received), MSG_WAITALL) == sizeof(received) &&
	       memcmp(sent, received, sizeof(sent)) == 0)
		atomic_fetch_add(&load->count[0], 1);
	close(fd);
}

bool is_long_form(void)
{
	return getenv("SKELD_LONG") != NULL;
}

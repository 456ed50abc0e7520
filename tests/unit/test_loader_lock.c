/* config/loader: the parser does not wait for a lock that a thread of the daemon holds. */
/* build: WRAP cfg_parse_fp */
#include "config/loader.h"
#include "fixture.h"
#include "loading.h"

#include <confuse.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(loader_lock, .init = fixture_enter, .fini = fixture_leave);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Replaces cfg_parse_fp(): the parser first takes a lock. */
int __real_cfg_parse_fp(cfg_t *cfg, FILE *in);
int __wrap_cfg_parse_fp(cfg_t *cfg, FILE *in);

int __wrap_cfg_parse_fp(cfg_t *cfg, FILE *in)
{
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	return __real_cfg_parse_fp(cfg, in);
}

static struct loader loader = {"skeld.conf", &thing_schema, .timeout_seconds = ANY_SECONDS};

static void expect_good(void)
{
	struct errors e = {0};
	struct config *c = loader_load(&loader, &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	config_unref(c);
}

static void *hold_lock(void *arg)
{
	pthread_barrier_t *both = arg;
	pthread_mutex_lock(&lock);
	pthread_barrier_wait(both); /* the lock is held */
	pthread_barrier_wait(both);
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* Such a lock exists in glibc 2.36: strerror(3) holds a lock that libconfuse needs in
 * bindtextdomain(3). Negative control: a child forked by this process waits forever. */
Test(loader_lock, a_loader_restarts_while_another_thread_holds_a_lock)
{
	enum { PATIENCE_MS = 500 };
	pthread_t thread;
	pthread_barrier_t both;
	struct errors e = {0};
	file_write("skeld.conf", "drain_timeout = 7\n");
	expect_good();
	MUST(pthread_barrier_init(&both, NULL, 2) == 0 &&
	     pthread_create(&thread, NULL, hold_lock, &both) == 0);
	pthread_barrier_wait(&both);
	expect_good();
	pid_t pid = fork();
	if (pid == 0) {
		config_parse("skeld.conf", &thing_schema, &e);
		_exit(0);
	}
	int fd = pidfd_open(pid, 0);
	MUST(pid > 0 && fd >= 0);
	bool hangs = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, PATIENCE_MS) == 0;
	close(fd);
	kill(pid, SIGKILL);
	MUST(waitpid(pid, NULL, 0) == pid);
	cr_assert(hangs);
	pthread_barrier_wait(&both);
	pthread_join(thread, NULL);
	loader_stop(&loader);
	EXPECT_NOTHING_LEFT();
}

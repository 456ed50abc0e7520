/* Thousands of short connections while the daemon reloads and dumps, and while listeners move. */
/* test: TIMEOUT 180 */
#include "crowd.h"
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(short_connections);

#define TWO	     "workers = 2\nadmin { address = \"\" }\n"
#define LISTEN_LOCAL "listen \"local\" { address = \"unix:%s/local\" }\n"

enum { EACH = 2500 }; /* connections, from each of CROWD_PROCESSES, twice */

/* Reload with a changed file, and dump: each as soon as the one before has ended. */
static void reload_until_over(struct crowd *c)
{
	enum { LEAST = 10 };
	for (unsigned n = 0; !crowd_is_over(c); n++) {
		config_write(TWO LISTEN_MAIN LISTEN_LOCAL "limits { idle_timeout = %u }\n"
							  "echo { banner = \"\" }\n%s",
			     test_dir, 100 + n % 100, n % 10 == 9 ? "nonsense\n" : "");
		daemon_signal(SIGUSR1);
		daemon_signal(SIGHUP);
		notify_wait("RELOADING=1");
		notify_wait("READY=1");
		if (n == LEAST)
			atomic_store(&c->stop, true);
	}
}

/* Returns the number of connections. */
static size_t churn(const char *address)
{
	struct crowd *c = crowd_churn(address, scaled(EACH));
	reload_until_over(c);
	crowd_join(c);
	size_t n = c->connected;
	cr_assert_eq(c->served[0] + c->left, n);
	cr_assert_geq(n, scaled(EACH) * CROWD_PROCESSES);
	crowd_free(c);
	return n;
}

static void check(const char *listener)
{
	enum { OTHER_KIB = 600 };
	char address[128], before[sizeof(last_value)];
	config_write(TWO LISTEN_MAIN LISTEN_LOCAL, test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	snprintf(address, sizeof(address), "%s", listener_address(listener));
	await_idle();
	strcpy(before, proc_fds());
	size_t n = churn(address);
	long resident = proc_number("VmRSS");
	n += churn(address);
	stats_await("skeld_connections_accepted_total", (double)n);
	stats_await_open(0);
	AWAIT(strcmp(before, proc_fds()) == 0);
	long grown = proc_number("VmRSS") - resident;
	if (SANITIZED(""))
		cr_assert_lt(grown, OTHER_KIB, "memory grew by %ld KiB", grown);
	expect_signals_accounted();
	cr_assert_eq(log_count_warnings(), 0, "%s", log_text());
	daemon_finish();
	cr_assert(log_contains("drained: cut_off=0"));
}

Test(short_connections, short_connections_are_served_during_reloads_and_dumps)
{
	check("main");
}

Test(short_connections, short_connections_on_a_unix_socket_are_served_during_reloads)
{
	check("local");
}

/* Listeners are removed while clients connect to them. */

static void own_address(unsigned i, char text[static 32])
{
	/* Not 127.0.0.1: other programs and the clients use no port there. */
	unsigned pid = (unsigned)getpid();
	snprintf(text, 32, "127.%u.%u.%u", 64 + i, pid >> 8 & 255, pid & 255);
}

Test(short_connections, connections_to_moving_listeners_are_served)
{
	enum { RELOADS = 20, PLACES = 3, PROGRESS = 30 };
	static const unsigned there[] = {7, 1, 2, 6, 5,
					 1, 4, 3}; /* bits: the listeners of each configuration */
	char address[PLACES][128], host[32];
	const char *const addresses[] = {address[0], address[1], address[2]};
	size_t served[PLACES];
	own_address(0, host);
	char other[32];
	own_address(1, other);
	config_write(TWO "listen \"p0\" { address = \"%s:0\" }\nlisten \"p1\" { address = \"%s:0\" "
			 "}\nlisten \"p2\" { address = \"unix:%s/p2\" }\n",
		     host, other, test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	for (size_t i = 0; i < PLACES; i++) {
		char title[3] = {'p', (char)('0' + i), '\0'};
		snprintf(address[i], sizeof(address[i]), "%s", listener_address(title));
	}
	struct crowd *c = crowd_knock(addresses, PLACES);
	for (size_t n = 0; n < RELOADS; n++) {
		/* The titles change: a listener is identified by its address. */
		char config[1024] = TWO;
		unsigned set = there[n % 8];
		for (size_t i = 0; i < PLACES; i++)
			if (set >> i & 1)
				snprintf(config + strlen(config), sizeof(config) - strlen(config),
					 "listen \"t%zu\" { address = \"%s\" }\n", (i + n) % 3,
					 address[i]);
		config_write("%s", config);
		daemon_reload_and_wait();
		expect_status("last_reload", "ok");
		for (size_t i = 0; i < PLACES; i++)
			served[i] = atomic_load(&c->served[i]);
		for (size_t i = 0; i < PLACES; i++)
			if (set >> i & 1)
				AWAIT(atomic_load(&c->served[i]) > served[i] + PROGRESS ||
				      atomic_load(&c->failed));
	}
	crowd_join(c);
	cr_assert_eq(c->connected, crowd_served(c));
	cr_assert_gt(c->refused, 0);
	fprintf(stderr, "# %zu connected and were served, %zu were refused\n", c->connected,
		c->refused);
	crowd_free(c);
	stats_await_open(0);
	cr_assert_eq(log_count_warnings(), 0, "%s", log_text());
	daemon_finish();
}

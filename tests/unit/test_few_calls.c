/* data/acceptor and data/connection: a short connection needs few system calls. */
/* build: WRAP accept4 */
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(few_calls, .init = fixture_enter, .fini = fixture_leave);

static unsigned accepts, empty;

int __real_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
	int c = __real_accept4(fd, a, n, flags);
	accepts++;
	empty += c < 0 && errno == EAGAIN;
	return c;
}

/* A unix socket: connections and bytes arrive at once. */
static const struct address *serve_unix(void)
{
	char conf[256], path[PATH_IN_MAX];
	snprintf(conf, sizeof(conf), "listen \"u\" { address = \"unix:%s\" }",
		 path_in("sock", path));
	serving.data = echo;
	serve(conf);
	return &serving.snapshot->listener[1]->actual;
}

Test(few_calls, a_request_is_answered_in_the_turn_that_accepts_its_connection)
{
	int client = peer_connect(serve_unix());
	client_send(client, "x");
	MUST(event_base_loop(serving.w->base, EVLOOP_ONCE) == 0); /* one turn */
	cr_assert_eq(serving.n_data, 1);
	client_expect(client, "x");
	close(client);
	serving_end();
}

Test(few_calls, accept_rarely_finds_an_empty_queue)
{
	enum { N = 200, SELDOM = N / 8 + 1 };
	const struct address *a = serve_unix();
	for (unsigned i = 1; i <= N; i++) {
		int client = peer_connect(a);
		STEP_UNTIL(serving.n_opened == i);
		close(client);
		STEP_UNTIL(serving.n_closed == i);
	}
	cr_assert_leq(empty, SELDOM, "%u of %u", empty, accepts);
	serving_end();
}

/* While many connections wait, a turn of the loop accepts several. */
Test(few_calls, a_burst_of_connections_is_accepted_in_batches)
{
	enum { N = 400 };
	int client[N];
	unsigned turns = 0;
	const struct address *a = serve_unix();
	for (unsigned i = 0; i < N; i++)
		MUST((client[i] = peer_connect(a)) >= 0);
	while (serving.n_opened < N && turns < N) {
		MUST(event_base_loop(serving.w->base, EVLOOP_ONCE) == 0);
		turns++;
	}
	cr_assert_eq(serving.n_opened, N);
	cr_assert_lt(turns, N / 4);
	for (unsigned i = 0; i < N; i++)
		close(client[i]);
	serving_end();
}

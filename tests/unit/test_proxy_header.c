/* data/connection: the service sees a connection only after its PROXY header. */
#include "fixture.h"
#include "headers.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(proxy_header, .init = fixture_enter, .fini = fixture_leave);

static int greet(struct connection *c)
{
	return connection_write(c, "hello", 5);
}

static void serve_proxied(void)
{
	serving.opened = greet;
	serving.data = echo;
	serving.listen = "proxy = true";
	serve("");
}

/* Connected and accepted. */
static int client_connect_only(void)
{
	uint64_t before = count_of(COUNT_ACCEPTED);
	int fd = peer_connect(&serving.snapshot->listener[0]->actual);
	MUST(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	STEP_UNTIL(count_of(COUNT_ACCEPTED) > before);
	return fd;
}

static void send_bytes(int fd, const char *bytes, size_t n)
{
	MUST(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
}
#define SEND(fd, literal) send_bytes(fd, literal, SIZE(literal))

Test(proxy_header, opened_is_called_after_the_header)
{
	serve_proxied();
	int client = client_connect_only();
	step_all();
	cr_assert_eq(serving.n_opened, 0);
	SEND(client, V4);
	client_expect(client, "hello");
	cr_assert_eq(serving.n_opened, 1);
	cr_assert_eq(serving.n_data, 0);
	cr_assert_eq(serving.last->peer.family, AF_INET);
	cr_assert_eq(serving.last->peer.v4.sin_addr.s_addr, htonl(0xc0000207));
	client_send(client, "x");
	client_expect(client, "x");
	close(client);
	serving_end();
}

Test(proxy_header, bytes_behind_the_header_are_data)
{
	serve_proxied();
	int client = client_connect_only();
	SEND(client, V4_TLV "first");
	client_expect(client, "hellofirst");
	cr_assert_str_eq(serving.offered, "[first]");
	close(client);
	serving_end();
}

static int pause_at_once(struct connection *c)
{
	connection_read_pause(c);
	return 0;
}

/* A proxy that has no backend yet must not get bytes. */
Test(proxy_header, bytes_behind_the_header_wait_while_the_connection_is_paused)
{
	serve_proxied();
	serving.opened = pause_at_once;
	int client = client_connect_only();
	SEND(client, V4 "first");
	STEP_UNTIL(serving.n_opened == 1);
	step_all();
	cr_assert_eq(serving.n_data, 0);
	connection_read_resume(serving.last);
	client_expect(client, "first");
	close(client);
	serving_end();
}

Test(proxy_header, a_header_can_arrive_byte_by_byte)
{
	static const char bytes[] = V6 "x";
	serve_proxied();
	int client = client_connect_only();
	for (size_t i = 0; i < SIZE(bytes); i++) {
		cr_assert_eq(serving.n_opened, i > SIZE(V6), "after %zu bytes", i);
		uint64_t before = count_of(COUNT_RECEIVED);
		send_bytes(client, bytes + i, 1);
		STEP_UNTIL(count_of(COUNT_RECEIVED) > before);
		cr_assert_eq(serving.n_opened, i >= SIZE(V6) - 1, "after %zu bytes", i + 1);
		if (i == SIZE(V6) - 1)
			break;
	}
	cr_assert_eq(serving.last->peer.family, AF_INET6);
	cr_assert_null(serving.last->in); /* an idle connection owns no buffer */
	client_send(client, "x");
	client_expect(client, "hellox");
	close(client);
	serving_end();
}

Test(proxy_header, a_local_header_keeps_the_address_of_the_socket)
{
	serve_proxied();
	int client = client_connect_only();
	SEND(client, LOCAL_CHECK "x");
	client_expect(client, "hellox");
	cr_assert_eq(serving.last->peer.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	close(client);
	serving_end();
}

Test(proxy_header, a_wrong_header_closes_the_connection)
{
	static const char *const wrong[] = {"GET / HTTP/1.1\r\n\r\n", VERSION_1, "x"};
	serve_proxied();
	for (size_t i = 0; i < 3; i++) {
		int client = client_connect_only();
		client_send(client, wrong[i]);
		client_expect_end(client);
		STEP_UNTIL(closed_by(CLOSED_PROXY) == i + 1);
		close(client);
	}
	cr_assert_eq(serving.n_opened, 0);
	cr_assert_eq(serving.n_closed, 0);
	serving_end();
}

Test(proxy_header, a_missing_header_closes_the_connection_after_five_seconds)
{
	serve_proxied();
	int client = client_connect_only(), other = client_connect_only();
	pass_time(3);
	send_bytes(client, V4, 20); /* half a header does not extend the limit */
	STEP_UNTIL(count_of(COUNT_RECEIVED) == 20);
	pass_time(OPENING_SECONDS - 3);
	SEND(other, V4);
	client_expect(other, "hello");
	cr_assert_eq(closed_by(CLOSED_PROXY), 0);
	pass_time(1);
	cr_assert_eq(closed_by(CLOSED_PROXY), 1);
	client_expect_end(client);
	pass_time(10); /* after the header, only idle_timeout applies */
	client_send(other, "x");
	client_expect(other, "x");
	close(client);
	close(other);
	serving_end();
}

Test(proxy_header, a_client_that_leaves_without_a_header_is_not_an_error)
{
	serve_proxied();
	close(client_connect_only());
	STEP_UNTIL(closed_by(CLOSED_BY_PEER) == 1);
	int client = client_connect_only();
	send_bytes(client, V4, 20);
	close(client);
	STEP_UNTIL(closed_by(CLOSED_PROXY) == 1);
	serving_end();
}

Test(proxy_header, a_drain_closes_a_connection_without_a_header)
{
	serve_proxied();
	int client = client_connect_only(), half = client_connect_only();
	send_bytes(half, V4, 20);
	STEP_UNTIL(count_of(COUNT_RECEIVED) == 20);
	pass_time(3);
	workers_drain(serving.workers);
	client_expect_end(client);
	client_expect_end(half);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(closed_by(CLOSED_DRAIN), 2);
	cr_assert_eq(serving.n_draining, 0);
	close(client);
	close(half);
	serving_end();
}

Test(proxy_header, a_drain_answers_a_connection_that_just_opened)
{
	serve_proxied();
	int client = client_connect_only(), half = client_connect_only(),
	    introduced = client_connect_only();
	send_bytes(half, V4, 20);
	SEND(introduced, V4);
	client_expect(introduced, "hello");
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_draining == 1);
	event_del(serving.w->check); /* the whole time limit */
	SEND(client, V4 "x");
	client_expect(client, "hellox");
	client_expect_end(client);
	send_bytes(half, &V4[20], SIZE(V4) - 20);
	client_send(half, "y");
	client_expect(half, "helloy");
	client_expect_end(half);
	client_send(introduced, "z");
	client_expect(introduced, "z");
	client_expect_end(introduced);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(serving.n_draining, 3);
	cr_assert_eq(closed_by(CLOSED_DRAIN), 3);
	close(client);
	close(half);
	close(introduced);
	serving_end();
}

Test(proxy_header, a_drain_reads_a_header_that_has_arrived)
{
	serve_proxied();
	int client = client_connect_only();
	pass_time(3);
	SEND(client, V4 "x"); /* not yet read */
	workers_drain(serving.workers);
	client_expect(client, "hellox");
	client_expect_end(client);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(serving.n_draining, 1);
	close(client);
	serving_end();
}

Test(proxy_header, a_reload_changes_proxy_for_new_connections)
{
	char conf[128];
	serving.opened = greet;
	serving.data = echo;
	serve("");
	int before = client_new();
	serving.listen = "proxy = true";
	serving_publish("");
	cr_assert_eq(serving.snapshot->listener[0]->refs, 2, "another listener");
	int proxied = client_connect_only();
	step_all();
	cr_assert_eq(serving.n_opened, 1);
	serving.listen = "";
	snprintf(conf, sizeof(conf), "limits { idle_timeout = 60 }");
	serving_publish(conf);
	int after = client_new();
	client_send(before, "x");
	client_expect(before, "hellox");
	SEND(proxied, V4 "x"); /* it was accepted when a header was expected */
	client_expect(proxied, "hellox");
	SEND(after, LOCAL_CHECK);
	client_expect(after, "hello\r\n\r\n");
	close(before);
	close(proxied);
	close(after);
	serving_end();
}

static int reject_connection(struct connection *c)
{
	(void)c;
	return -1;
}

Test(proxy_header, a_connection_that_opened_rejects_after_the_header_is_closed)
{
	serve_proxied();
	serving.opened = reject_connection;
	int client = client_connect_only();
	SEND(client, V4 "x");
	client_expect_end(client);
	STEP_UNTIL(closed_by(CLOSED_BY_SERVICE) == 1);
	cr_assert_eq(serving.n_data, 0);
	close(client);
	serving_end();
}

Test(proxy_header, a_forced_stop_closes_a_connection_without_a_header)
{
	serve_proxied();
	int client = client_connect_only();
	workers_close_connections(serving.workers);
	client_expect_end(client);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(closed_by(CLOSED_DEADLINE), 1);
	close(client);
	serving_end();
}

/* data/connection, data/service_api: the callbacks other than `data`, and the calls that end, pause
 * and switch a connection. */
#include "fixture.h"
#include "serving.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(protocol, .init = fixture_enter, .fini = fixture_leave);

static enum ending_reason why_ending;

static size_t keep_all(struct connection *c, const char *bytes, size_t n)
{
	(void)c, (void)bytes, (void)n;
	return 0;
}

static int hold_at_once(struct connection *c)
{
	connection_hold(c);
	return 0;
}

static int pause_at_once(struct connection *c)
{
	connection_read_pause(c);
	return 0;
}

static void reset_client(int client)
{
	const struct linger reset = {.l_onoff = 1};
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(client);
}

/* The end of the peer. */

static void say_goodbye(struct connection *c)
{
	connection_write(c, "bye", 3);
}

Test(protocol, the_end_of_the_peer_is_reported_behind_its_bytes)
{
	serving.ended = say_goodbye;
	int client = serve_one(echo, "", "last");
	MUST(shutdown(client, SHUT_WR) == 0);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(serving.n_ended, 1);
	client_expect(client, "lastbye");
	client_expect_end(client);
	close(client);
	serving_end();
}

Test(protocol, a_held_connection_with_a_full_buffer_learns_at_once_that_its_peer_left)
{
	char many[20000];
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	serving.opened = hold_at_once;
	int client = serve_one(keep_all, "limits { buffer = 4096 }", many);
	STEP_UNTIL(buffered(serving.last->in) == 4096);
	step_all();
	cr_assert_eq(serving.n_ended, 0);
	MUST(shutdown(client, SHUT_WR) == 0);
	STEP_UNTIL(serving.n_ended == 1);
	cr_assert_eq(serving.n_closed, 0);
	step_all();
	serving.data = echo;
	connection_release(serving.last);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(serving.n_ended, 1, "once");
	cr_assert_eq(count_of(COUNT_RECEIVED), sizeof(many) - 1, "nothing is lost");
	close(client);
	serving_end();
}

static void cancel(struct connection *c)
{
	serving.data = echo;
	connection_release(c);
}

Test(protocol, a_release_in_ended_offers_the_bytes_that_filled_the_buffer)
{
	char many[5000];
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	serving.opened = hold_at_once;
	serving.ended = cancel;
	int client = serve_one(keep_all, "limits { buffer = 4096 }", many);
	STEP_UNTIL(buffered(serving.last->in) == 4096);
	step_all();
	MUST(shutdown(client, SHUT_WR) == 0);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(count_of(COUNT_SENT), sizeof(many) - 1);
	close(client);
	serving_end();
}

/* The end of the test forces a stop in the turn of the release: the connection is freed once. */
Test(protocol, a_held_connection_with_a_full_buffer_notices_a_reset)
{
	char many[5000];
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	serving.opened = hold_at_once;
	int client = serve_one(keep_all, "limits { buffer = 4096 }", many);
	STEP_UNTIL(buffered(serving.last->in) == 4096);
	step_all();
	reset_client(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_ERROR), 1);
	connection_release(serving.last);
	serving_end();
}

/* Pausing. */

Test(protocol, a_paused_connection_reads_nothing_until_it_is_resumed)
{
	serving.opened = pause_at_once;
	int client = serve_one(echo, "", "early");
	MUST(shutdown(client, SHUT_WR) == 0);
	step_all();
	cr_assert_eq(serving.n_data, 0);
	cr_assert_eq(serving.n_ended, 0, "the end comes behind the bytes");
	connection_read_resume(serving.last);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_str_eq(serving.offered, "[early]");
	cr_assert_eq(serving.n_ended, 1);
	client_expect(client, "early");
	close(client);
	serving_end();
}

Test(protocol, a_paused_connection_notices_a_reset)
{
	serving.opened = pause_at_once;
	int client = serve_one(echo, "", "unread");
	step_all();
	reset_client(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(serving.n_data, 0);
	serving_end();
}

static size_t consume_one_and_pause(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes, (void)n;
	connection_read_pause(c);
	return 1;
}

Test(protocol, bytes_that_were_received_before_a_pause_wait_for_its_end)
{
	int client = serve_one(consume_one_and_pause, "", "abc");
	STEP_UNTIL(serving.n_data == 1);
	step_all();
	cr_assert_eq(serving.n_data, 1);
	connection_read_resume(serving.last);
	STEP_UNTIL(serving.n_data == 2);
	step_all();
	cr_assert_str_eq(serving.offered, "[abc][bc]");
	close(client);
	STEP_UNTIL(!serving.last->paused || serving.n_data == 2);
	connection_read_resume(serving.last);
	STEP_UNTIL(serving.n_data == 3);
	connection_abort(serving.last);
	serving_end();
}

/* The output queue. */

static size_t fill_queue(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	int result;
	do
		result = connection_write(c, pattern(0, 4096), 4096);
	while (result == 0);
	cr_assert_eq(result, 1);
	return n;
}

static void check_room(struct connection *c)
{
	cr_assert_leq(buffered(c->out), 8192);
}

Test(protocol, writable_is_called_once_when_the_queue_has_shrunk)
{
	serving.writable = check_room;
	serving.data = fill_queue;
	serve("limits { buffer = 16K }");
	int client = client_new();
	slow_down();
	client_send(client, "go");
	STEP_UNTIL(serving.n_data == 1);
	step_all();
	cr_assert_eq(serving.n_writable, 0);
	char bytes[65536];
	STEP_UNTIL((recv(client, bytes, sizeof(bytes), 0), serving.n_writable));
	cr_assert_leq(buffered(serving.last->out), 8192);
	step_all();
	cr_assert_eq(serving.n_writable, 1);
	close(client);
	serving_end();
}

/* Ends. */

static void note_ending(struct connection *c, enum ending_reason why)
{
	why_ending = why;
	connection_write(c, "the end", 7);
}

Test(protocol, an_idle_connection_can_write_before_it_is_closed)
{
	serving.ending = note_ending;
	int client = serve_one(echo, "limits { idle_timeout = 5 }", "hi");
	client_expect(client, "hi");
	pass_time(7);
	STEP_UNTIL(serving.n_ending == 1);
	cr_assert_eq(why_ending, ENDING_IDLE);
	client_expect(client, "the end");
	client_expect_end(client);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_IDLE), 1);
	serving_end();
}

Test(protocol, a_drained_connection_can_write_before_it_is_closed)
{
	serving.ending = note_ending;
	int client = serve_one(echo, "drain_timeout = 0", "hi");
	client_expect(client, "hi");
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_ending == 1);
	cr_assert_eq(why_ending, ENDING_DRAIN);
	client_expect(client, "the end");
	client_expect_end(client);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_DRAIN), 1);
	serving_end();
}

static size_t write_and_abort(struct connection *c, const char *bytes, size_t n)
{
	fill_queue(c, bytes, n);
	connection_abort(c);
	cr_assert_eq(connection_write(c, "x", 1), -1);
	return n;
}

Test(protocol, abort_discards_and_resets)
{
	char byte;
	int client = serve_one(write_and_abort, "", "go");
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	ssize_t n;
	do
		n = recv(client, &byte, 1, 0);
	while (n > 0);
	cr_assert(n < 0 && errno == ECONNRESET, "%zd: %m", n);
	close(client);
	serving_end();
}

static size_t write_little_and_abort(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_write(c, "little", 6);
	connection_abort(c);
	return n;
}

Test(protocol, abort_discards_what_the_same_callback_has_written)
{
	char byte;
	int client = serve_one(write_little_and_abort, "", "go");
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert(recv(client, &byte, 1, 0) < 0 && errno == ECONNRESET);
	cr_assert_eq(count_of(COUNT_SENT), 0);
	close(client);
	serving_end();
}

static size_t answer_and_shut_down(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	if (serving.n_data > 1)
		return n;
	connection_write(c, "all", 3);
	connection_shutdown(c);
	cr_assert_eq(connection_write(c, "x", 1), -1);
	return n;
}

Test(protocol, shutdown_ends_one_direction)
{
	int client = serve_one(answer_and_shut_down, "", "go");
	client_expect(client, "all");
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 0);
	client_send(client, "more");
	STEP_UNTIL(serving.n_data == 2);
	cr_assert_str_eq(serving.offered, "[go][more]");
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_BY_PEER), 1);
	serving_end();
}

/* Another protocol. */

static unsigned n_upgraded;

static size_t shout(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	n_upgraded += (unsigned)n;
	connection_write(c, "!", 1);
	return n;
}

static void count_closed(struct connection *c)
{
	(void)c;
	serving.n_closed++;
}

static size_t upgrade(struct connection *c, const char *bytes, size_t n)
{
	static const struct protocol upgraded = {.data = shout, .closed = count_closed};
	(void)bytes, (void)n;
	connection_set_protocol(c, &upgraded);
	return 4;
}

Test(protocol, bytes_behind_an_upgrade_go_to_the_new_protocol)
{
	int client = serve_one(upgrade, "", "plus12");
	client_expect(client, "!");
	cr_assert_eq(n_upgraded, 2);
	client_send(client, "345");
	client_expect(client, "!");
	cr_assert_eq(serving.n_data, 1);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	serving_end();
}

static size_t hold_then_upgrade(struct connection *c, const char *bytes, size_t n)
{
	if (serving.n_data == 1)
		connection_hold(c);
	else
		upgrade(c, bytes, n);
	return 0;
}

Test(protocol, an_upgrade_that_consumes_nothing_after_a_hold_offers_all_to_the_new_protocol)
{
	int client = serve_one(hold_then_upgrade, "", "plus12");
	STEP_UNTIL(serving.n_data == 1);
	connection_release(serving.last);
	client_expect(client, "!");
	cr_assert_eq(n_upgraded, 6);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	serving_end();
}

/* Facts. */

Test(protocol, peer_and_listener_are_known)
{
	struct sockaddr_in mine;
	socklen_t length = sizeof(mine);
	int client = serve_one(echo, "", "hi");
	client_expect(client, "hi");
	MUST(getsockname(client, (struct sockaddr *)&mine, &length) == 0);
	const struct sockaddr_in *peer = (const void *)connection_peer(serving.last, &length);
	cr_assert_eq(length, sizeof(*peer));
	cr_assert_eq(peer->sin_family, AF_INET);
	cr_assert_eq(peer->sin_port, mine.sin_port);
	cr_assert_eq(peer->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	cr_assert_str_eq(connection_listener(serving.last), "main");
	close(client);
	serving_end();
}

/* data/service_api: late answers with connection_hold() and connection_release(). */
#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(service_hold, .init = fixture_enter, .fini = fixture_leave);

static bool busy; /* an answer is being prepared */

/* Consumes one request, a letter, at a time; answer() answers it later. */
static size_t consume_one_byte(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes, (void)n;
	if (busy)
		return 0;
	busy = true;
	connection_hold(c);
	return 1;
}

static void answer(struct connection *c, const char *text)
{
	cr_assert(busy);
	busy = false;
	connection_write(c, text, strlen(text));
	connection_release(c);
}

Test(service_hold, requests_wait_behind_a_held_answer)
{
	int client = serve_one(consume_one_byte, "", "abc");
	STEP_UNTIL(busy);
	step_all();
	cr_assert_str_eq(serving.offered, "[abc]");
	answer(serving.last, "A");
	client_expect(client, "A");
	STEP_UNTIL(busy);
	client_send(client, "d");
	STEP_UNTIL(serving.n_data == 3);
	answer(serving.last, "B");
	STEP_UNTIL(busy);
	answer(serving.last, "C");
	STEP_UNTIL(busy);
	answer(serving.last, "D");
	client_expect(client, "BCD");
	step_all();
	cr_assert_str_eq(serving.offered, "[abc][bc][cd][cd][d]");
	cr_assert_eq(serving.n_closed, 0);
	close(client);
	serving_end();
}

Test(service_hold, requests_are_kept_up_to_the_limit)
{
	char most[5000] = "";
	memset(most, 'x', sizeof(most) - 1);
	int client = serve_one(consume_one_byte, "limits { buffer = 4096 }", most);
	STEP_UNTIL(busy);
	step_all();
	cr_assert_leq(buffered(serving.last->in), 4096);
	cr_assert_eq(serving.n_closed, 0, "it is busy, not too large");
	for (size_t i = 0; i < sizeof(most) - 1; i++) {
		STEP_UNTIL(busy);
		answer(serving.last, "!");
	}
	memset(most, '!', sizeof(most) - 1);
	most[4095] = '\0';
	client_expect(client, most);
	close(client);
	serving_end();
}

Test(service_hold, a_client_that_half_closes_gets_a_held_answer)
{
	int client = serve_one(consume_one_byte, "", "ab");
	MUST(shutdown(client, SHUT_WR) == 0);
	STEP_UNTIL(busy);
	step_all();
	cr_assert_eq(serving.n_closed, 0);
	answer(serving.last, "A");
	client_expect(client, "A");
	STEP_UNTIL(busy);
	answer(serving.last, "B");
	client_expect(client, "B");
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	close(client);
	serving_end();
}

Test(service_hold, a_held_connection_without_peer_is_valid_until_released)
{
	struct linger reset = {1, 0};
	int client = serve_one(consume_one_byte, "", "a");
	STEP_UNTIL(busy);
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(workers_open_connections(serving.workers), 1, "it keeps its place");
	/* The address sanitizer watches its memory. */
	cr_assert_eq(connection_write(serving.last, "A", 1), -1);
	connection_hold(serving.last);
	connection_release(serving.last);
	step_all();
	cr_assert_eq(connection_worker(serving.last), serving.w);
	connection_release(serving.last);
	step_all();
	cr_assert_eq(serving.n_closed, 1);
	serving_end();
}

Test(service_hold, holds_are_counted)
{
	int client = serve_one(consume_one_byte, "", "ab");
	STEP_UNTIL(busy);
	connection_hold(serving.last);
	answer(serving.last, "A");
	busy = true; /* still */
	MUST(shutdown(client, SHUT_WR) == 0);
	client_expect(client, "A");
	step_all();
	cr_assert_eq(serving.n_closed, 0);
	answer(serving.last, "B");
	client_expect(client, "B");
	STEP_UNTIL(busy); /* the second request */
	answer(serving.last, "C");
	client_expect(client, "C");
	client_expect_end(client);
	close(client);
	serving_end();
}

Test(service_hold, a_held_connection_is_not_idle)
{
	serving.data = consume_one_byte;
	serve("limits { idle_timeout = 5 }");
	int client = client_new(), other = client_new();
	client_send(other, "a");
	STEP_UNTIL(busy);
	struct connection *held = serving.last;
	pass_time(100);
	cr_assert_eq(serving.n_closed, 1, "the other one was idle");
	cr_assert_eq(closed_by(CLOSED_IDLE), 1);
	answer(held, "A");
	client_expect(other, "A");
	pass_time(5);
	cr_assert_eq(serving.n_closed, 1);
	pass_time(1);
	cr_assert_eq(serving.n_closed, 2);
	close(client);
	close(other);
	serving_end();
}

Test(service_hold, a_close_waits_for_the_release)
{
	int client = serve_one(consume_one_byte, "", "a");
	STEP_UNTIL(busy);
	connection_write(serving.last, "bye", 3);
	connection_close(serving.last);
	step_all();
	cr_assert_eq(connection_write(serving.last, "x", 1), -1);
	connection_release(serving.last);
	client_expect(client, "bye");
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	close(client);
	serving_end();
}

static size_t hold_and_release(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes, (void)n;
	connection_hold(c);
	connection_release(c);
	return 0;
}

Test(service_hold, data_is_not_called_again_without_progress)
{
	int client = serve_one(hold_and_release, "", "a");
	STEP_UNTIL(serving.n_data > 0);
	step_all();
	cr_assert_leq(serving.n_data, 2);
	close(client);
	serving_end();
}

/* close(2) with unread bytes resets the connection (RFC 9112, 9.6). */
Test(service_hold, a_close_does_not_reset_a_peer_that_still_sends)
{
	int client = serve_one(consume_one_byte, "", "a");
	STEP_UNTIL(busy);
	connection_write(serving.last, "bye", 3);
	connection_close(serving.last);
	client_send(client, "is not heard any more");
	connection_release(serving.last);
	step_all();
	client_expect(client, "bye");
	client_expect_end(client);
	cr_assert_str_eq(serving.offered, "[a]");
	cr_assert_eq(serving.n_closed, 1);
	close(client);
	STEP_UNTIL(workers_open_connections(serving.workers) == 0);
	serving_end();
}

Test(service_hold, a_connection_can_be_released_after_a_forced_stop)
{
	int client = serve_one(consume_one_byte, "", "a");
	STEP_UNTIL(busy);
	workers_close_connections(serving.workers);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert(workers_drained(serving.workers));
	connection_release(serving.last);
	close(client);
	serving_end();
}

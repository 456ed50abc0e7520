/* data/datagram: datagrams reach the service, answers their peer; what is dropped is counted. */
/* build: WRAP sendmmsg calloc */
#include "data/datagram.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 32 };

static struct datagram_peer last; /* the peer of the last datagram */
static char received[256];	  /* "[a datagram]", one after the other */
static size_t last_length;
static int send_error; /* errno of the next SEND_FAILURES calls of sendmmsg(2) */
static unsigned n_sends, send_failures, largest_send;
static bool no_memory; /* for struct datagrams, which is the only large allocation */

int __real_sendmmsg(int fd, struct mmsghdr *message, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *message, unsigned n, int flags);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

int __wrap_sendmmsg(int fd, struct mmsghdr *message, unsigned n, int flags)
{
	n_sends++;
	largest_send = n > largest_send ? n : largest_send;
	if (send_failures) {
		send_failures--;
		errno = send_error;
		return -1;
	}
	return __real_sendmmsg(fd, message, n, flags);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory && size > 1000000 ? NULL : __real_calloc(n, size);
}

static void record(struct worker *w, const struct datagram_peer *from, const char *bytes, size_t n)
{
	size_t used = strlen(received);
	cr_assert_eq(w, serving.w);
	last = *from;
	last_length = n;
	snprintf(received + used, sizeof(received) - used, "[%.*s]", (int)n, bytes);
}

static void answer(struct worker *w, const struct datagram_peer *from, const char *bytes, size_t n)
{
	record(w, from, bytes, n);
	datagram_send(w, from, bytes, n);
}

TestSuite(datagram, .init = fixture_enter, .fini = fixture_leave);

#define UDP "listen \"udp\" { address = \"udp:127.0.0.1:0\" }\n"

static void serve_udp(void (*datagram)(struct worker *w, const struct datagram_peer *from,
				       const char *bytes, size_t n),
		      const char *conf)
{
	serving.datagram = datagram;
	serve(conf);
}

static struct listener *udp_listener(void)
{
	return serving.snapshot->listener[1];
}

/* A client of the listener at HOST, "udp:127.0.0.2:0". */
static int client_of(const char *host)
{
	struct address a = address_of(host);
	address_set_port(&a, address_port(&udp_listener()->actual));
	int fd = peer_connect(&a);
	MUST(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	return fd;
}

/* A client whose request the service has recorded, and not answered. */
static int serve_request(void)
{
	serve_udp(record, UDP);
	int client = client_of("udp:127.0.0.1:0");
	client_send(client, "request");
	STEP_UNTIL(serving.n_datagrams == 1);
	return client;
}

static void send_times(int fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		client_send(fd, "x");
}

static uint64_t dropped(enum drop_reason reason)
{
	return count_of(COUNT_DATAGRAMS_DROPPED + (size_t)reason);
}

/* A reload with CONF that removes the listener, as the control thread commits it. */
static void remove_listener(const char *conf)
{
	listener_retire(udp_listener());
	serving_publish(conf);
}

Test(datagram, datagram_reaches_the_service_and_its_answer_the_peer)
{
	char text[ADDRESS_TEXT_MAX];
	struct address mine = {.length = sizeof(mine.sa)}, seen = {0};
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	client_send(client, "hello");
	client_expect(client, "hello");
	MUST(getsockname(client, (struct sockaddr *)&mine.sa, &mine.length) == 0);
	const struct sockaddr *peer = datagram_peer_address(&last, &seen.length);
	memcpy(&seen.sa, peer, seen.length);
	address_format(&seen, text);
	cr_assert(address_equal(&mine, &seen), "%s", text);
	cr_assert_str_eq(datagram_listener(&last), "udp");
	cr_assert_eq(count_of(COUNT_DATAGRAMS_RECEIVED), 1);
	cr_assert_eq(count_of(COUNT_DATAGRAMS_SENT), 1);
	close(client);
	serving_end();
}

Test(datagram, empty_datagram_is_passed_on_and_can_be_an_answer)
{
	char byte;
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	last_length = 1;
	MUST(send(client, "", 0, 0) == 0);
	STEP_UNTIL(serving.n_datagrams == 1);
	cr_assert_eq(last_length, 0);
	STEP_UNTIL(recv(client, &byte, 1, MSG_DONTWAIT) == 0);
	close(client);
	serving_end();
}

Test(datagram, datagram_above_the_buffer_limit_is_dropped_and_counted)
{
	serve_udp(record, UDP "limits { buffer = 4096 }\n");
	int client = client_of("udp:127.0.0.1:0");
	MUST(send(client, pattern(0, 4097), 4097, 0) == 4097);
	STEP_UNTIL(dropped(DROPPED_TRUNCATED) == 1);
	cr_assert_eq(serving.n_datagrams, 0);
	MUST(send(client, pattern(0, 4096), 4096, 0) == 4096);
	STEP_UNTIL(serving.n_datagrams == 1);
	cr_assert_eq(last_length, 4096);
	cr_assert_eq(count_of(COUNT_DATAGRAMS_RECEIVED), 1);
	close(client);
	serving_end();
}

Test(datagram, largest_datagram_is_received_and_answered)
{
	enum { LARGEST = 65507 };
	static char is[LARGEST + 1];
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	MUST(send(client, pattern(0, LARGEST), LARGEST, 0) == LARGEST);
	STEP_UNTIL(recv(client, is, sizeof(is), MSG_DONTWAIT) == LARGEST);
	cr_assert_eq(memcmp(is, pattern(0, LARGEST), LARGEST), 0);
	close(client);
	serving_end();
}

Test(datagram, one_turn_of_the_loop_receives_one_batch)
{
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	send_times(client, 2 * BATCH + 1);
	MUST(event_base_loop(serving.w->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) == 0);
	cr_assert_eq(serving.n_datagrams, BATCH);
	cr_assert_eq(n_sends, 1, "%u calls for the answers of one batch", n_sends);
	cr_assert_eq(largest_send, BATCH);
	STEP_UNTIL(serving.n_datagrams == 2 * BATCH + 1);
	close(client);
	serving_end();
}

Test(datagram, datagram_sent_outside_of_the_callback_leaves_in_the_same_turn)
{
	int client = serve_request();
	cr_assert_eq(datagram_send(serving.w, &last, "later", 5), 0);
	cr_assert_eq(n_sends, 0);
	step();
	cr_assert_eq(n_sends, 1);
	client_expect(client, "later");
	close(client);
	serving_end();
}

Test(datagram, full_socket_refuses_and_counts_until_the_turn_ends)
{
	int client = serve_request();
	send_error = EAGAIN;
	send_failures = 1;
	for (unsigned i = 0; i < BATCH; i++)
		cr_assert_eq(datagram_send(serving.w, &last, "x", 1), 0);
	cr_assert_eq(datagram_send(serving.w, &last, "y", 1), -1);
	cr_assert_eq(datagram_send(serving.w, &last, "y", 1), -1);
	cr_assert_eq(dropped(DROPPED_SEND), BATCH + 2);
	step();
	cr_assert_eq(datagram_send(serving.w, &last, "again", 5), 0);
	client_expect(client, "again");
	cr_assert_eq(count_of(COUNT_DATAGRAMS_SENT), 1);
	close(client);
	serving_end();
}

Test(datagram, failed_answer_does_not_stop_the_others)
{
	int client = serve_request();
	send_error = EPERM;
	send_failures = 1;
	cr_assert_eq(datagram_send(serving.w, &last, "first", 5), 0);
	cr_assert_eq(datagram_send(serving.w, &last, "second", 6), 0);
	client_expect(client, "second");
	cr_assert_eq(dropped(DROPPED_SEND), 1);
	cr_assert_eq(count_of(COUNT_DATAGRAMS_SENT), 1);
	cr_assert_eq(datagram_send(serving.w, &last, pattern(0, 65536), 65536), -1);
	cr_assert_eq(dropped(DROPPED_SEND), 2);
	close(client);
	serving_end();
}

Test(datagram, answers_larger_than_the_gathering_buffer_are_all_sent)
{
	enum { LARGE = 60000, N = 4 };
	static char is[LARGE + 1];
	int client = serve_request();
	for (size_t i = 0; i < N; i++) {
		cr_assert_eq(datagram_send(serving.w, &last, pattern(i, LARGE), LARGE), 0);
		if (i % 2 == 0) /* the queue of the client takes few of them */
			continue;
		for (size_t k = i - 1; k <= i; k++) {
			STEP_UNTIL(recv(client, is, sizeof(is), MSG_DONTWAIT) == LARGE);
			cr_assert_eq(memcmp(is, pattern(k, LARGE), LARGE), 0);
		}
	}
	close(client);
	serving_end();
}

Test(datagram, wildcard_answers_from_the_address_that_received)
{
	serve_udp(answer, "listen \"udp\" { address = \"udp:0.0.0.0:0\" }\n");
	int client = client_of("udp:127.0.0.2:0"); /* receives from this address only */
	client_send(client, "hello");
	client_expect(client, "hello");
	close(client);
	serving_end();
}

Test(datagram, ipv6_wildcard_answers_from_the_address_that_received)
{
	if (!has_ipv6())
		cr_skip_test("no IPv6 here");
	serve_udp(answer, "listen \"udp\" { address = \"udp:[::]:0\" }\n");
	int client = client_of("udp:[::1]:0");
	client_send(client, "hello");
	client_expect(client, "hello");
	cr_assert(IN6_IS_ADDR_LOOPBACK(&last.local));
	close(client);
	serving_end();
}

Test(datagram, datagrams_that_the_kernel_drops_are_counted)
{
	enum { N = 3000 };
	serve_udp(NULL, UDP);
	int client = client_of("udp:127.0.0.1:0");
	send_times(client, N);
	datagrams_tick(serving.w);
	cr_assert_gt(dropped(DROPPED_KERNEL), 0);
	datagrams_tick(serving.w); /* counts nothing twice */
	STEP_UNTIL(serving.n_datagrams + dropped(DROPPED_KERNEL) == N);
	close(client);
	serving_end();
}

Test(datagram, reload_keeps_the_socket_and_its_received_datagrams)
{
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0"), fd = udp_listener()->fds[0];
	client_send(client, "before");
	client_expect(client, "before");
	struct datagram_peer kept = last;
	client_send(client, "during");
	serving_publish("listen \"new\" { address = \"udp:127.0.0.1:0\" }\n");
	cr_assert_eq(udp_listener()->fds[0], fd);
	client_expect(client, "during");
	cr_assert_str_eq(datagram_listener(&kept), "udp");
	client_send(client, "after");
	client_expect(client, "after");
	cr_assert_str_eq(datagram_listener(&last), "new");
	cr_assert_eq(datagram_send(serving.w, &kept, "kept", 4), 0);
	client_expect(client, "kept");
	close(client);
	serving_end();
}

Test(datagram, removed_listener_passes_on_its_queue_then_refuses)
{
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	send_times(client, 3 * BATCH);
	listener_retire(udp_listener());
	MUST(send(client, "late", 4, 0) == 4);
	cr_assert_eq(send(client, "late", 4, 0), -1);
	cr_assert_eq(errno, ECONNREFUSED);
	serving_publish("");
	cr_assert_eq(serving.n_datagrams, 3 * BATCH);
	for (unsigned i = 0; i < 3 * BATCH; i++)
		client_expect(client, "x");
	cr_assert_eq(datagram_send(serving.w, &last, "gone", 4), -1);
	cr_assert_eq(dropped(DROPPED_SEND), 1);
	close(client);
	serving_end();
}

Test(datagram, drain_answers_the_datagrams_that_have_arrived)
{
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	send_times(client, 2 * BATCH);
	listener_retire(udp_listener());
	workers_drain(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(serving.n_datagrams, 2 * BATCH);
	for (unsigned i = 0; i < 2 * BATCH; i++)
		client_expect(client, "x");
	cr_assert_eq(datagram_send(serving.w, &last, "gone", 4), -1);
	close(client);
	serving_end();
}

/* The next service that the unit starts reads it. */
Test(datagram, queue_of_a_socket_unit_is_left_to_the_unit)
{
	char byte;
	serve_udp(record, UDP);
	int client = client_of("udp:127.0.0.1:0"), fd = dup(udp_listener()->fds[0]);
	udp_listener()->keeper = KEEPER_UNIT;
	client_send(client, "x");
	remove_listener("");
	client_send(client, "y");
	cr_assert_eq(serving.n_datagrams, 0);
	cr_assert(recv(fd, &byte, 1, MSG_DONTWAIT) == 1 && byte == 'x');
	cr_assert(recv(fd, &byte, 1, MSG_DONTWAIT) == 1 && byte == 'y');
	close(fd);
	close(client);
	serving_end();
}

Test(datagram, held_worker_still_answers_from_a_removed_listener)
{
	int client = serve_request();
	worker_hold(serving.w);
	remove_listener("");
	cr_assert_eq(datagram_send(serving.w, &last, "late", 4), 0);
	worker_release(serving.w);
	client_expect(client, "late");
	cr_assert_eq(datagram_send(serving.w, &last, "too late", 8), -1);
	close(client);
	serving_end();
}

/* The listener comes and goes while the worker is busy. */
Test(datagram, listener_of_an_untaken_snapshot_passes_on_its_queue)
{
	serve_udp(record, "");
	struct snapshot *first = serving.snapshot, *second = snapshot_of(UDP, first);
	workers_publish(serving.workers, second);
	serving.snapshot = second;
	int client = client_of("udp:127.0.0.1:0");
	client_send(client, "hello");
	remove_listener("");
	cr_assert_str_eq(received, "[hello]");
	snapshot_unref(first);
	close(client);
	serving_end();
}

Test(datagram, listener_is_served_once_there_is_memory)
{
	no_memory = true;
	serve_udp(answer, UDP);
	int client = client_of("udp:127.0.0.1:0");
	client_send(client, "hello");
	step_all();
	cr_assert_eq(serving.n_datagrams, 0);
	no_memory = false;
	client_expect(client, "hello");
	close(client);
	serving_end();
}

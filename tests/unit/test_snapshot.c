/*
 * data/snapshot: unchanged listeners are kept, a failure leaves nothing, the last reference frees.
 */
/* build: WRAP listen */
/* test: NEEDS ADMIN */
#include "data/snapshot.h"
#include "fixture.h"
#include "loading.h"
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(snapshot, .init = fixture_enter, .fini = fixture_leave);

static const struct listeners none;

/* Replaces listen(2): a client that connects before all sockets are bound would be lost. */
int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);

static size_t n_listening;
static int last_backlog;

int __wrap_listen(int fd, int backlog)
{
	n_listening++;
	last_backlog = backlog;
	return __real_listen(fd, backlog);
}

/* Load TEXT, without an admin server unless TEXT configures one. */
static struct config *load_listeners(const char *text)
{
	char *whole = NULL;
	MUST(asprintf(&whole, "%s%s", text,
		      strstr(text, "admin") ? "" : "admin { address = \"\" }\n") >= 0);
	struct config *c = load_good(whole);
	free(whole);
	return c;
}

static struct snapshot *load_snapshot(const struct snapshot *old, size_t n, const char *text)
{
	struct errors e = {0};
	struct snapshot *s = snapshot_new(load_listeners(text), old, &none, &none, n, &e);
	cr_assert(s && e.n == 0, "%s", errors_text(&e, 0));
	return s;
}

/* Retire the listeners that are not in NEW, as the commit of a reload does. */
static void retire(struct snapshot *old, const struct snapshot *new)
{
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!new || !snapshot_has(new, old->listener[i]))
			listener_retire(old->listener[i]);
	snapshot_unref(old);
}

Test(snapshot, snapshot_has_a_listener_for_each_address)
{
	struct snapshot *s = load_snapshot(NULL, 3,
					   "listen a { address = \"127.0.0.1:0\" }\n"
					   "listen off { address = \"\" }\n"
					   "listen b { address = \"127.0.0.1:0\" }\n");
	cr_assert_eq(s->generation, 1);
	cr_assert_eq(s->n_listeners, 2);
	cr_assert_eq(s->listener[0]->n_fds, 3);
	cr_assert_str_eq(s->listener[1]->title, "b");
	cr_assert_neq(address_port(&s->listener[0]->actual), address_port(&s->listener[1]->actual));
	cr_assert(snapshot_has(s, s->listener[1]));
	snapshot_unref(s);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, unchanged_addresses_keep_their_listeners)
{
	char text[256], path[PATH_IN_MAX];
	snprintf(text, sizeof(text),
		 "listen a { address = \"127.0.0.1:0\" }\n"
		 "listen u { address = \"unix:%s\" }\n",
		 path_in("sock", path));
	struct snapshot *one = load_snapshot(NULL, 2, text);
	snprintf(text, sizeof(text),
		 "listen u2 { address = \"unix:%s\" }\n"
		 "listen new { address = \"127.0.0.1:0\" backlog = 5 }\n"
		 "listen c { address = \"127.0.0.1:0\" }\n",
		 path);
	struct snapshot *two = load_snapshot(one, 2, text);
	cr_assert_eq(two->generation, 2);
	cr_assert_eq(two->n_listeners, 3);
	cr_assert_eq(two->listener[0], one->listener[1]);
	cr_assert_eq(two->listener[1], one->listener[0]);
	cr_assert_eq(one->listener[0]->refs, 2);
	cr_assert_neq(two->listener[2], one->listener[0]);
	cr_assert_not(snapshot_has(one, two->listener[2]));
	retire(one, two);
	int client = peer_connect(&two->listener[0]->actual);
	cr_assert_geq(client, 0);
	close(client);
	cr_assert_eq(two->listener[0]->refs, 1);
	retire(two, NULL);
	cr_assert_not(file_exists("sock"));
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, a_port_chosen_by_the_kernel_can_be_configured_later)
{
	char text[128];
	struct snapshot *one = load_snapshot(NULL, 2, "listen a { address = \"127.0.0.1:0\" }\n");
	snprintf(text, sizeof(text), "listen a { address = \"127.0.0.1:%u\" }\n",
		 address_port(&one->listener[0]->actual));
	struct snapshot *two = load_snapshot(one, 2, text);
	cr_assert_eq(two->listener[0], one->listener[0]);
	retire(one, two);
	snapshot_unref(two);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, a_port_can_move_to_another_address)
{
	char text[128];
	struct snapshot *one = load_snapshot(NULL, 2, "listen a { address = \"0.0.0.0:0\" }\n");
	unsigned port = address_port(&one->listener[0]->actual);
	snprintf(text, sizeof(text), "listen a { address = \"127.0.0.1:%u\" }\n", port);
	struct snapshot *two = load_snapshot(one, 2, text);
	cr_assert_neq(two->listener[0], one->listener[0]);
	retire(one, two);
	snprintf(text, sizeof(text), "listen a { address = \"0.0.0.0:%u\" }\n", port);
	struct snapshot *three = load_snapshot(two, 2, text);
	retire(two, three);
	snapshot_unref(three);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, a_failed_listener_leaves_no_socket_open)
{
	char text[512], path[PATH_IN_MAX], sock[PATH_IN_MAX], begin[128];
	struct address a = address_of("127.0.0.1:0");
	struct peer other = peer_listen(&a);
	struct errors e = {0};
	snprintf(text, sizeof(text), "listen u { address = \"unix:%s\" }\n", path_in("old", path));
	struct snapshot *old = load_snapshot(NULL, 2, text);
	struct address kept = old->listener[0]->actual;
	size_t before = open_descriptors();
	snprintf(text, sizeof(text),
		 "listen kept { address = \"unix:%s\" }\n"
		 "listen u { address = \"unix:%s\" }\n"
		 "listen b { address = \"127.0.0.1:0\" }\n"
		 "listen taken {\n address = \"127.0.0.1:%u\"\n}\n"
		 "listen nowhere { address = \"unix:/nowhere/at/all\" }\n",
		 path, path_in("new", sock), address_port(&a));
	struct config *c = load_listeners(text);
	cr_assert_null(snapshot_new(c, old, &none, &none, 2, &e));
	cr_assert_eq(e.n, 2);
	snprintf(begin, sizeof(begin),
		 "skeld.conf:6: cannot listen on 127.0.0.1:%u (listen \"taken\"): ",
		 address_port(&a));
	cr_assert_eq(strncmp(errors_text(&e, 0), begin, strlen(begin)), 0, "%s",
		     errors_text(&e, 0));
	cr_assert(strstr(errors_text(&e, 1), "skeld.conf:7: cannot listen on unix:/nowhere"));
	errors_clear(&e);
	cr_assert_eq(open_descriptors(), before);
	cr_assert_not(file_exists("new"));
	cr_assert_eq(c->limits.buffer, 65536, "the configuration is still the caller's");
	config_unref(c);
	/* The old snapshot is unchanged. */
	cr_assert_eq(old->listener[0]->refs, 1);
	int client = peer_connect(&kept);
	cr_assert_geq(client, 0);
	close(client);
	retire(old, NULL);
	peer_end(other);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, the_last_reference_frees_the_snapshot)
{
	struct snapshot *s = load_snapshot(NULL, 2, "listen a { address = \"127.0.0.1:0\" }\n");
	struct address a = s->listener[0]->actual;
	size_t before = open_descriptors();
	cr_assert_eq(snapshot_ref(s), s);
	cr_assert_eq(s->refs, 2);
	snapshot_unref(s);
	cr_assert_eq(open_descriptors(), before);
	int client = peer_connect(&a);
	cr_assert_geq(client, 0);
	close(client);
	snapshot_unref(s);
	cr_assert_eq(peer_connect(&a), -1);
	snapshot_unref(NULL);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, a_drain_snapshot_keeps_only_the_configuration)
{
	struct snapshot *s = load_snapshot(NULL, 2, "listen a { address = \"127.0.0.1:0\" }\n");
	struct snapshot *without = snapshot_without_listeners(s);
	cr_assert_eq(without->generation, s->generation);
	cr_assert_eq(without->config, s->config);
	cr_assert_eq(without->n_listeners, 0);
	snapshot_unref(s);
	cr_assert_eq(without->config->limits.buffer, 65536);
	snapshot_unref(without);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, workers_do_not_serve_the_admin_listener)
{
	char text[512], path[PATH_IN_MAX];
	struct snapshot *one = load_snapshot(NULL, 2,
					     "admin { address = \"127.0.0.1:0\" }\n"
					     "listen a { address = \"127.0.0.1:0\" }\n");
	cr_assert_eq(one->n_listeners, 2);
	cr_assert_eq(one->admin, one->listener[1]);
	cr_assert_str_eq(one->admin->title, "admin");
	cr_assert_eq(one->admin->n_fds, 1);
	cr_assert(snapshot_has(one, one->admin) && !snapshot_serves(one, one->admin));
	cr_assert(snapshot_serves(one, one->listener[0]));
	/* A drain keeps only the admin listener. */
	struct snapshot *drained = snapshot_without_listeners(one);
	cr_assert_eq(drained->n_listeners, 1);
	cr_assert_eq(drained->admin, one->admin);
	snapshot_unref(drained);
	/* A reload keeps or moves the admin listener, or swaps it with another one. */
	unsigned a = address_port(&one->listener[0]->actual), b = address_port(&one->admin->actual);
	snprintf(text, sizeof(text),
		 "listen a { address = \"127.0.0.1:%u\" }\n"
		 "admin { address = \"127.0.0.1:%u\" }\n",
		 b, a);
	struct snapshot *two = load_snapshot(one, 2, text);
	cr_assert_eq(two->admin, one->listener[0]);
	cr_assert_eq(two->listener[0], one->admin);
	snprintf(text, sizeof(text),
		 "listen off { address = \"\" }\nadmin { address = \"unix:%s\" }\n",
		 path_in("admin", path));
	struct snapshot *three = load_snapshot(two, 2, text);
	cr_assert_eq(three->n_listeners, 1);
	cr_assert_eq(three->admin->actual.sa.ss_family, AF_UNIX);
	retire(one, two);
	retire(two, three);
	retire(three, NULL);
	cr_assert_not(file_exists("admin"));
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, an_admin_address_in_use_is_reported_with_its_line)
{
	char text[128], begin[128];
	struct address a = address_of("127.0.0.1:0");
	struct peer other = peer_listen(&a);
	struct errors e = {0};
	snprintf(text, sizeof(text),
		 "listen off { address = \"\" }\nadmin {\n address = \"127.0.0.1:%u\"\n}\n",
		 address_port(&a));
	struct config *c = load_listeners(text);
	cr_assert_null(snapshot_new(c, NULL, &none, &none, 2, &e));
	snprintf(begin, sizeof(begin),
		 "skeld.conf:4: cannot listen on 127.0.0.1:%u (listen \"admin\"): ",
		 address_port(&a));
	cr_assert_eq(strncmp(errors_text(&e, 0), begin, strlen(begin)), 0, "%s",
		     errors_text(&e, 0));
	errors_clear(&e);
	config_unref(c);
	peer_end(other);
	EXPECT_NOTHING_LEFT();
}

/* If several passed sockets have one name, the address decides, not their order. */
Test(snapshot, a_passed_socket_is_used_by_the_section_with_its_address)
{
	char text[256];
	struct errors e = {0};
	struct listeners there = {0};
	struct snapshot *lent = load_snapshot(NULL, 1,
					      "listen a { address = \"127.0.0.1:0\" }\n"
					      "listen b { address = \"127.0.0.1:0\" }\n");
	for (size_t i = 0; i < 2; i++)
		cr_assert(listeners_adopt(&there, dup(lent->listener[i]->fds[0]), "main",
					  KEEPER_UNIT, &e));
	snprintf(text, sizeof(text),
		 "listen main { address = \"127.0.0.1:0\" }\n"
		 "admin { address = \"127.0.0.1:%u\" }\n",
		 address_port(&there.listener[0]->actual));
	struct snapshot *s = snapshot_new(load_listeners(text), NULL, &there, &none, 1, &e);
	cr_assert(s && e.n == 0, "%s", errors_text(&e, 0));
	cr_assert_eq(s->listener[0], there.listener[1]);
	cr_assert_eq(s->admin, there.listener[0]);
	snapshot_unref(s);
	listeners_clear(&there);
	snapshot_unref(lent);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, a_title_chooses_a_passed_socket_of_the_same_kind)
{
	struct errors e = {0};
	struct listeners there = {0};
	struct snapshot *lent = load_snapshot(NULL, 1,
					      "listen a { address = \"127.0.0.1:0\" }\n"
					      "listen b { address = \"udp:127.0.0.1:0\" }\n");
	for (size_t i = 0; i < 2; i++)
		cr_assert(listeners_adopt(&there, dup(lent->listener[i]->fds[0]), "main",
					  KEEPER_UNIT, &e));
	struct config *c = load_listeners("listen main { address = \"udp:127.0.0.1:0\" }\n");
	struct snapshot *s = snapshot_new(c, NULL, &there, &none, 1, &e);
	cr_assert(s && e.n == 0, "%s", errors_text(&e, 0));
	cr_assert_eq(s->listener[0], there.listener[1]);
	snapshot_unref(s);
	listeners_clear(&there);
	snapshot_unref(lent);
	EXPECT_NOTHING_LEFT();
}

/* No client can connect to a socket that is rolled back: it may have a more specific address than
 * a listener that stays, and the kernel would give it that listener's clients. */
Test(snapshot, all_sockets_are_bound_before_the_first_listens)
{
	char text[256];
	struct errors e = {0};
	struct snapshot *other = load_snapshot(NULL, 1, "listen a { address = \"127.0.0.1:0\" }\n");
	struct snapshot *old = load_snapshot(NULL, 2, "listen all { address = \"0.0.0.0:0\" }\n");
	snprintf(text, sizeof(text),
		 "listen all { address = \"127.0.0.1:%u\" }\n"
		 "listen b { address = \"127.0.0.1:%u\" }\n",
		 address_port(&old->listener[0]->actual),
		 address_port(&other->listener[0]->actual));
	n_listening = 0;
	struct config *c = load_listeners(text);
	cr_assert_null(snapshot_new(c, old, &none, &none, 2, &e));
	cr_assert_eq(e.n, 1);
	cr_assert_eq(n_listening, 0);
	config_unref(c);
	errors_clear(&e);
	snapshot_unref(old);
	snapshot_unref(other);
	EXPECT_NOTHING_LEFT();
}

/* A worker still has the sockets of a removed listener. */
Test(snapshot, an_address_can_be_used_again_while_its_removed_listener_is_open)
{
	char text[256];
	struct errors e = {0};
	struct listeners retired = {0};
	struct snapshot *one = load_snapshot(NULL, 2, "listen a { address = \"127.0.0.1:0\" }\n");
	struct listener *l = listener_ref(one->listener[0]);
	struct snapshot *two = load_snapshot(one, 2, "listen b { address = \"127.0.0.2:0\" }\n");
	retire(one, two);
	listeners_remember(&retired, l);
	snprintf(text, sizeof(text), "listen a { address = \"127.0.0.1:%u\" }\n",
		 address_port(&l->actual));
	struct snapshot *three = snapshot_new(load_listeners(text), two, &none, &retired, 2, &e);
	cr_assert(three && e.n == 0, "%s", errors_text(&e, 0));
	cr_assert_neq(three->listener[0], l);
	int client = peer_connect(&l->actual);
	MUST(client >= 0);
	close(client);
	retire(two, three);
	listener_unref(l);
	listeners_prune(&retired);
	cr_assert_eq(retired.n, 0);
	listeners_clear(&retired);
	retire(three, NULL);
	EXPECT_NOTHING_LEFT();
}

Test(snapshot, a_stored_socket_gets_the_backlog_of_its_section)
{
	char text[256];
	struct errors e = {0};
	struct listeners passed = {0};
	struct snapshot *one = load_snapshot(NULL, 1, "listen a { address = \"127.0.0.1:0\" }\n");
	struct listener *l = listener_ref(one->listener[0]);
	cr_assert(listeners_adopt(&passed, dup(l->fds[0]), "stored", KEEPER_STORE, &e));
	snprintf(text, sizeof(text), "listen a { address = \"127.0.0.1:%u\" backlog = 7 }\n",
		 address_port(&l->actual));
	struct snapshot *two = snapshot_new(load_listeners(text), NULL, &passed, &none, 1, &e);
	cr_assert(two && e.n == 0, "%s", errors_text(&e, 0));
	cr_assert_eq(two->listener[0], passed.listener[0]);
	snapshot_apply_sections(two);
	cr_assert_eq(last_backlog, 7);
	listeners_clear(&passed);
	listener_unref(l);
	retire(one, NULL);
	retire(two, NULL);
	EXPECT_NOTHING_LEFT();
}

/* The service manager did not get the request to remove it. */
Test(snapshot, a_stored_socket_that_refuses_connections_is_not_used)
{
	char text[256];
	struct errors e = {0};
	struct listeners passed = {0};
	struct snapshot *one = load_snapshot(NULL, 1, "listen a { address = \"127.0.0.1:0\" }\n");
	struct listener *l = listener_ref(one->listener[0]);
	retire(one, NULL);
	cr_assert(listeners_adopt(&passed, dup(l->fds[0]), "stored", KEEPER_STORE, &e));
	snprintf(text, sizeof(text), "listen a { address = \"127.0.0.1:%u\" }\n",
		 address_port(&l->actual));
	struct snapshot *two = snapshot_new(load_listeners(text), NULL, &passed, &none, 1, &e);
	cr_assert(two && e.n == 0, "%s", errors_text(&e, 0));
	int client = peer_connect(&l->actual);
	MUST(client >= 0);
	close(client);
	listeners_clear(&passed);
	listener_unref(l);
	retire(two, NULL);
	EXPECT_NOTHING_LEFT();
}

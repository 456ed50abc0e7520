/* The example service services/kv.c follows memcached's protocol.txt. */
#include "client.h"

#include <string.h>

DAEMON_SUITE(kv, daemon_use(KV_BINARY));

/* Send REQUESTS, and expect these ANSWERS and nothing else. */
static void exchange(const char *requests, const char *answers)
{
	int client = client_connect("main");
	client_send(client, requests);
	client_send(client, "version\r\n");
	client_expect(client, answers);
	client_expect(client, "VERSION 1.0.0\r\n");
	client_close(client);
}

Test(kv, a_value_is_stored_replaced_and_deleted)
{
	daemon_start(BASE);
	exchange("set key 7 0 5\r\nfirst\r\nset key 8 0 6\r\nsecond\r\nget key other\r\n",
		 "STORED\r\nSTORED\r\nVALUE key 8 6\r\nsecond\r\nEND\r\n");
	exchange("stats\r\ndelete key\r\ndelete key\r\nget key\r\n",
		 "STAT curr_items 1\r\nSTAT bytes 6\r\nEND\r\nDELETED\r\nNOT_FOUND\r\nEND\r\n");
	daemon_finish();
}

Test(kv, a_value_with_line_ends_comes_back_unchanged)
{
	daemon_start(BASE);
	exchange("set key 0 0 6\r\n\r\na\r\n\n\r\nget key\r\n",
		 "STORED\r\nVALUE key 0 6\r\n\r\na\r\n\n\r\nEND\r\n");
	daemon_finish();
}

Test(kv, a_value_without_its_line_end_is_rejected)
{
	daemon_start(BASE);
	exchange("set key 0 0 3\r\nabcdeget key\r\n", "CLIENT_ERROR bad data chunk\r\nEND\r\n");
	daemon_finish();
}

Test(kv, commands_with_noreply_are_not_answered)
{
	daemon_start(BASE);
	exchange("set key 0 0 3 noreply\r\nabc\r\nget key\r\n", "VALUE key 0 3\r\nabc\r\nEND\r\n");
	exchange("delete key noreply\r\ndelete key noreply\r\nget key\r\n", "END\r\n");
	exchange("set key 0 0 3 noreply\r\nabc\r\ndelete key 0 noreply\r\nget key\r\n", "END\r\n");
	daemon_finish();
}

Test(kv, a_malformed_command_is_answered_with_an_error)
{
	daemon_start(BASE);
	exchange("set key\r\ndelete\r\ndelete key now\r\nunknown\r\n\r\n",
		 "CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n"
		 "CLIENT_ERROR bad command line format\r\nERROR\r\nERROR\r\n");
	daemon_finish();
}

Test(kv, a_value_beyond_the_memory_limit_is_not_stored)
{
	daemon_start(BASE "kv { memory = 4 }\n");
	exchange("set a 0 0 3\r\nabc\r\nset b 0 0 2\r\nde\r\nget a b\r\n",
		 "STORED\r\nSERVER_ERROR not stored\r\nVALUE a 0 3\r\nabc\r\nEND\r\n");
	daemon_finish();
}

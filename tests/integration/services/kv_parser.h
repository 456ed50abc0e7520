/* Command lines of memcached's text protocol, for the service kv.c. Nothing is copied: words point
 * into the line. */
#ifndef KV_PARSER_H
#define KV_PARSER_H

#include "items.h"

enum { KEY_MAX = 250 }; /* bytes */

enum verb {
	GET,
	GETS,
	SET,
	ADD,
	REPLACE,
	CAS,
	APPEND,
	PREPEND,
	INCR,
	DECR,
	TOUCH,
	DELETE,
	FLUSH_ALL,
	VERBOSITY,
	STATS,
	VERSION,
	QUIT,
	N_VERBS
};

struct kv_command {
	enum verb verb;
	struct word key;
	uint64_t flags, size; /* of the value that follows the line */
	uint64_t number;      /* the delta of incr and decr, the unique number of cas */
	int64_t expiry;	      /* as in the line, 0: none; -1: it is negative */
	bool noreply;
	const char *at, *end; /* the rest of the line */
};

/* Parse the line from AT to END. A line end, or what else is no part of a word, follows it. Returns
 * NULL, or the answer to a line that is not valid. */
const char *kv_parse(struct kv_command *m, const char *at, const char *end);

/* The decimal number W, which no digit follows. Returns false if it is none, or larger than MAX. */
bool kv_number(struct word w, uint64_t max, uint64_t *number);

/* The next key of get and gets. Returns false at the end, with an empty key, or if the word is no
 * valid key. */
bool kv_next_key(struct kv_command *m);

#endif

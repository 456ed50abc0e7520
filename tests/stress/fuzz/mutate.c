#include "mutate.h"

#include <string.h>

static const char replacements[] = "\0\001\t\n\r\"'\\{}=$#/*(+\xff";
_Static_assert(REPLACED + sizeof(replacements) - 1 == MUTATIONS,
	       "one mutation for each replacement");

size_t mutate(char *out, const char *text, size_t n, size_t at, size_t which)
{
	size_t rest = which == DELETED ? at + 1 : at; /* the first byte of TEXT to copy after AT */
	memcpy(out, text, at);
	if (which == CUT)
		return at;
	if (which == DOUBLED)
		out[at++] = text[rest];
	memcpy(out + at, text + rest, n - rest);
	if (which >= REPLACED)
		out[at] = replacements[which - REPLACED];
	return at + n - rest;
}

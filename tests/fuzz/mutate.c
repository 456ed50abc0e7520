#include "mutate.h"

#include <string.h>

static const char others[] = "\0\001\t\n\r\"'\\{}=$#/*(+\xff";
_Static_assert(REPLACED + sizeof(others) - 1 == MUTATIONS, "one mutation for each of the bytes");

size_t mutate(char *out, const char *text, size_t n, size_t at, size_t which)
{
	size_t kept = which == DELETED ? at + 1 : at; /* what follows OUT's AT bytes */
	memcpy(out, text, at);
	if (which == CUT)
		return at;
	if (which == DOUBLED)
		out[at++] = text[kept];
	memcpy(out + at, text + kept, n - kept);
	if (which >= REPLACED)
		out[at] = others[which - REPLACED];
	return at + n - kept;
}

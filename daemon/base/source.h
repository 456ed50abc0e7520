/* A configuration file's bytes, if they are ones that can be trusted to a parser. */
#ifndef SKELD_SOURCE_H
#define SKELD_SOURCE_H

#include "base/errors.h"

#include <sys/types.h>

#ifndef SOURCE_MAX	     /* fuzzers reach it with less, see tests/fuzz/CMakeLists.txt */
#define SOURCE_MAX (1 << 20) /* bytes, over a file and all that it includes */
#endif

struct source {
	char *text;    /* ended by a NUL, owned by the caller */
	size_t length; /* of text */
	dev_t device;  /* which file it is, however it was named */
	ino_t inode;
};

/*
 * Read PATH whole. Refused, with an error placed at FROM:LINE (what includes it; FROM NULL: at
 * PATH itself): what is not a regular file, more than BUDGET bytes, an empty file, a NUL or
 * another control character, a last line without its newline (a file that was cut). Never blocks
 * on a FIFO or a device: they are not even opened. Returns 0 or -1.
 */
int source_read(const char *path, size_t budget, const char *from, unsigned line, struct source *s,
		struct errors *e);

#endif

/*
 * Reads a configuration file, and rejects files that the parser must not see.
 *
 * libconfuse and its lexer (flex) cannot be trusted with every path: for a directory flex calls
 * exit(3), a FIFO blocks, /dev/zero never ends, and text after a NUL is ignored. So the parser
 * never opens a file itself.
 */
#ifndef SKELD_FILE_H
#define SKELD_FILE_H

#include "base/errors.h"

#include <stdbool.h>
#include <sys/stat.h>

#ifndef CONFIG_SIZE_MAX		  /* a test may set it lower */
#define CONFIG_SIZE_MAX (1 << 20) /* bytes in a configuration file and its includes together */
#endif

struct config_file {
	char *text;    /* ended by a newline and a NUL, owned by the caller */
	size_t length; /* bytes in the file */
	unsigned lines;
	bool may_be_cut; /* the last line has no newline, and ends in a word or a comment */
	dev_t device;	 /* with inode, identifies the file; two paths may lead to one file */
	ino_t inode;
};

/*
 * Read the whole file PATH. Rejects everything but a regular file of 1 to BUDGET bytes that has no
 * control characters. Does not open FIFOs and devices. Replaces a byte order mark by blanks, and
 * adds a newline that is missing at the end.
 *
 * An error about PATH as a whole is placed at FROM:LINE, the include statement; FROM is NULL and
 * LINE 0 for the main file. Returns 0, or -1 with errors appended to E.
 */
int config_file_read(const char *path, size_t budget, const char *from, unsigned line,
		     struct config_file *f, struct errors *e);

/*
 * Open PATH for reading if it is a regular file, and store its properties in ST. Does not wait for
 * FIFOs and devices, and does not open them. Returns the descriptor; or -1, and in KIND what PATH
 * is ("a directory"), or NULL and errno.
 */
int config_file_open(const char *path, struct stat *st, const char **kind);

#endif

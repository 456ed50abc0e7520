/* PROXY protocol headers, written by hand from the specification. */
#ifndef SKELD_TESTS_HEADERS_H
#define SKELD_TESTS_HEADERS_H

#include <stddef.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
/* Version and command, family and transport, length. The string constants have one more NUL. */
#define HEAD(command, family, hi, lo) SIGNATURE command family hi lo

/* From 192.0.2.7:4711 to 198.51.100.9:80. */
#define V4_ADDRESSES "\xc0\0\2\7\xc6\x33\x64\x09\x12\x67\0\x50"
#define V4	     HEAD("\x21", "\x11", "\0", "\x0c") V4_ADDRESSES
/* The same, and 7 bytes of a TLV: NOOP, 4 bytes. */
#define V4_TLV HEAD("\x21", "\x11", "\0", "\x13") V4_ADDRESSES "\4\0\4abcd"
/* From [2001:db8::7]:4711 to [2001:db8::9]:80. */
#define V6_ADDRESSES                                                                               \
	"\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\7"                                                     \
	"\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\t"                                                     \
	"\x12\x67\0\x50"
#define V6 HEAD("\x21", "\x21", "\0", "\x24") V6_ADDRESSES
/* A health check of the balancer (LOCAL). */
#define LOCAL_CHECK HEAD("\x20", "\0", "\0", "\0")
#define UNKNOWN	    HEAD("\x21", "\0", "\0", "\0")
#define VERSION_1   "PROXY TCP4 192.0.2.7 198.51.100.9 4711 80\r\n"

#define SIZE(literal) (sizeof(literal) - 1)

#endif

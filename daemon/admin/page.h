/* The page that the admin server shows at `/`: page.html, built into the program by page.cmake. */
#ifndef SKELD_ADMIN_PAGE_H
#define SKELD_ADMIN_PAGE_H

#include <stddef.h>

extern const char page_html[];	    /* ends in a NUL */
extern const size_t page_html_size; /* without it */

/*
 * The header lines of the page. The Content-Security-Policy allows only the script of the page and
 * no other source, so that text from peers and files cannot run or load anything.
 */
extern const char page_fields[];

#endif

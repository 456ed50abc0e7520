/* The page that the admin server shows at `/`: page.html, built into the program by page.cmake. */
#ifndef SKELD_PAGE_H
#define SKELD_PAGE_H

#include <stddef.h>

extern const char page_html[];	    /* ends in a NUL */
extern const size_t page_html_size; /* without it */

/*
 * Its Content-Security-Policy: nothing runs but the page's own script and nothing is loaded from
 * anywhere else, whatever a peer's name or a mistake in a file puts into it.
 */
extern const char page_policy[];

#endif

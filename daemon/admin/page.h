/* The page that the admin server shows at `/`: page.html, built into the program by page.cmake. */
#ifndef SKELD_ADMIN_PAGE_H
#define SKELD_ADMIN_PAGE_H

#include <stddef.h>

extern const char page_html[];	    /* ends in a NUL */
extern const size_t page_html_size; /* without it */

/*
 * Its header lines, with a Content-Security-Policy that runs the page's own script and loads
 * nothing from elsewhere, whatever a peer's name or a mistake in a file puts into the page.
 */
extern const char page_fields[];

#endif

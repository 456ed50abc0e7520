/* What the admin server answers: one function for each path, in one table. Control thread. */
#ifndef SKELD_ANSWERS_H
#define SKELD_ANSWERS_H

#include "data/listener.h"

struct daemon;
struct evhttp_request;

/* Answer R, which came in by HERE (NULL: by one that is no longer listened on). */
void answers_give(struct evhttp_request *r, const struct daemon *d, const struct listener *here);

#endif

/* What the relay owes for the deliveries that the kernel has made. */
#ifndef SKELD_TESTS_ORACLE_H
#define SKELD_TESTS_ORACLE_H

#include "subject.h"

/*
 * NULL when all is as it should be, else what is not. EXPECTED are the deliveries in the order in
 * which the kernel has to make them.
 */
const char *oracle(const struct account *o, const struct note *expected, size_t n);

#endif

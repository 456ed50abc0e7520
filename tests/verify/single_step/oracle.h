/* The arrivals that the signal queue has to report for the deliveries that the kernel made. */
#ifndef SKELD_TESTS_ORACLE_H
#define SKELD_TESTS_ORACLE_H

#include "subject.h"

/* Returns NULL, or a description of the failure. EXPECTED are the deliveries, in order. */
const char *oracle(const struct tally *o, const struct note *expected, size_t n);

#endif

/* What a unit test leaves behind: descriptors and memory. */
#ifndef SKELD_TESTS_LEAKS_H
#define SKELD_TESTS_LEAKS_H

#include <stdbool.h>
#include <stddef.h>

size_t open_descriptors(void);
extern size_t descriptors_before; /* counted by fixture_enter() */
bool memory_leaks(void);	  /* without the address sanitizer: false */

/* The end of a unit test: no descriptor and no memory is left. */
#define EXPECT_NOTHING_LEFT()                                                                      \
	do {                                                                                       \
		cr_assert_eq(open_descriptors(), descriptors_before, "a descriptor was left");     \
		cr_assert_not(memory_leaks(), "memory was lost, see the sanitizer's report");      \
	} while (0)

/*
 * The same for the .fini of a suite, in place of fixture_leave(). Criterion counts a check that
 * fails there as passed: this ends the process, and run-tap reports it.
 */
void fixture_leave_nothing(void);

/* Was this program built with AddressSanitizer? */
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZED true
#elif defined(__has_feature)
#define ADDRESS_SANITIZED __has_feature(address_sanitizer)
#else
#define ADDRESS_SANITIZED false
#endif

#endif

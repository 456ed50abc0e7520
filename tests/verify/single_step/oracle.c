#include "oracle.h"

#include <stdio.h>
#include <string.h>

static char wrong[256];
#define WRONG(...) (snprintf(wrong, sizeof(wrong), __VA_ARGS__), wrong)

struct group {
	struct note first;
	uint64_t count;
};

/*
 * The specification of the signal queue: consecutive deliveries of one kind from one sender are one
 * arrival. Returns the number of arrivals.
 */
static size_t reference(const struct note *note, size_t n, struct group out[SIGNAL_QUEUE_SIZE])
{
	size_t all = 0;
	for (size_t i = 0; i < n; i++) {
		if (!all || out[all - 1].first.signal != note[i].signal ||
		    out[all - 1].first.sender != note[i].sender)
			out[all++] = (struct group){.first = note[i]};
		out[all - 1].count++;
	}
	return all;
}

static const char *check_batch(const struct signal_arrival *a, size_t n, const struct note *note,
			       size_t deliveries)
{
	struct group should[SIGNAL_QUEUE_SIZE];
	size_t all = reference(note, deliveries, should);
	if (n != all)
		return WRONG("%zu arrivals for %zu deliveries, expected %zu", n, deliveries, all);
	for (size_t i = 0; i < n; i++)
		if (a[i].signal != should[i].first.signal || a[i].pid != should[i].first.sender ||
		    a[i].count != should[i].count)
			return WRONG("arrival %zu of %zu is %llu x signal %d of %d, expected "
				     "%llu x signal %d of %d",
				     i, n, (unsigned long long)a[i].count, a[i].signal, a[i].pid,
				     (unsigned long long)should[i].count, should[i].first.signal,
				     should[i].first.sender);
	return NULL;
}

static const char *check_order(const struct tally *o, const struct note *expected, size_t n)
{
	if (o->n_delivered != n)
		return WRONG("the kernel delivered %zu signals of %zu", o->n_delivered, n);
	for (size_t i = 0; i < n; i++)
		if (o->delivered[i].signal != expected[i].signal ||
		    o->delivered[i].sender != expected[i].sender)
			return WRONG("delivery %zu is signal %d of %d, expected %d of %d", i,
				     o->delivered[i].signal, o->delivered[i].sender,
				     expected[i].signal, expected[i].sender);
	return NULL;
}

static const char *check_counts(const struct tally *o)
{
	uint64_t delivered[NSIG] = {0};
	for (size_t i = 0; i < o->n_delivered; i++)
		delivered[o->delivered[i].signal]++;
	for (int s = 0; s < NSIG; s++)
		if (o->received[s] != delivered[s] || o->acted[s] + o->coalesced[s] != delivered[s])
			return WRONG("signal %d: %llu delivered, %llu received, %llu handled, "
				     "%llu coalesced",
				     s, (unsigned long long)delivered[s],
				     (unsigned long long)o->received[s],
				     (unsigned long long)o->acted[s],
				     (unsigned long long)o->coalesced[s]);
	return NULL;
}

/* Signals are resumed after the first batch was taken, no sooner. */
static const char *check_limit(const struct tally *o)
{
	unsigned in_turn[NSIG] = {0};
	for (size_t i = 0; i < o->n_delivered; i++)
		if (!o->batches_before[i] && ++in_turn[o->delivered[i].signal] > MAX_PER_TURN)
			return WRONG("signal %d was delivered more than %d times in one turn",
				     o->delivered[i].signal, MAX_PER_TURN);
	return NULL;
}

const char *oracle(const struct tally *o, const struct note *expected, size_t n)
{
	size_t at = 0, deliveries = 0;
	const char *why = check_order(o, expected, n);
	for (size_t b = 0; !why && b < o->n_batches; b++) {
		uint64_t sum = 0;
		if (b >= BATCHES_MAX || at + o->batch[b] > o->n_handled)
			return "more was taken than was handled";
		if (o->batch[b] == 0)
			return "a wake-up found nothing to take";
		for (size_t i = 0; i < o->batch[b]; i++)
			sum += o->handled[at + i].count;
		if (sum > o->n_delivered - deliveries)
			return "more was handled than was delivered";
		why = check_batch(&o->handled[at], o->batch[b], &o->delivered[deliveries], sum);
		at += o->batch[b];
		deliveries += sum;
	}
	if (!why && (at != o->n_handled || deliveries != n))
		why = WRONG("%zu deliveries of %zu are accounted for", deliveries, n);
	for (size_t i = 1; !why && i < o->n_handled; i++)
		if (o->handled[i].at < o->handled[i - 1].at)
			why = WRONG("arrival %zu is older than that before it", i);
	if (!why)
		why = check_counts(o);
	if (!why)
		why = check_limit(o);
	if (!why && !o->mask_is_empty)
		why = "signals were left blocked";
	return why;
}

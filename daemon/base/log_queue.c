#include "base/log_queue.h"

#include <stdalign.h>
#include <string.h>

enum { RUN_BYTES = 16 * 1024 };

static alignas(struct log_line) char queue[LOG_QUEUE_BYTES];
static size_t head, tail; /* equal: the queue is empty */
static size_t wrap;	  /* if head < tail: where the lines at the end of the ring end */

static struct log_line *line_at(size_t offset)
{
	return (struct log_line *)(void *)(queue + offset);
}

/* Returns N bytes of contiguous room at the head, or NULL. */
static struct log_line *make_room(size_t n)
{
	if (head == tail) /* few lines wait: use few pages */
		head = tail = 0;
	if (head >= tail && LOG_QUEUE_BYTES - head < n) {
		if (tail <= n)
			return NULL;
		wrap = head;
		head = 0;
	} else if (head < tail && tail - head <= n) {
		return NULL;
	}
	return line_at(head);
}

bool log_queue_put(const struct log_text *text)
{
	const size_t align = alignof(struct log_line) - 1;
	size_t n = text->length + text->n_fields;
	size_t size = (sizeof(struct log_line) + n + align) & ~align;
	struct log_line *l = make_room(size);
	if (!l)
		return false;
	l->size = size;
	l->length = text->length;
	l->head.level = text->level;
	l->head.is_json = text->is_json;
	l->head.n_fields = text->n_fields;
	clock_gettime(CLOCK_REALTIME, &l->head.time); /* under the lock: later lines, later times */
	memcpy(l->text, text->bytes, n);
	head += size;
	return true;
}

const struct log_line *log_queue_find(uint64_t *n)
{
	uint64_t most = *n;
	if (tail > head && tail == wrap)
		tail = 0;
	size_t end = tail, limit = tail > head ? wrap : head;
	for (*n = 0; *n < most && end < limit; ++*n) {
		end += line_at(end)->size;
		if (end - tail > RUN_BYTES)
			limit = end;
	}
	return line_at(tail);
}

void log_queue_remove(uint64_t n)
{
	while (n--)
		tail += line_at(tail)->size;
}

size_t log_queue_used(void)
{
	return head >= tail ? head - tail : head + wrap - tail;
}

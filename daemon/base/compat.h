/* What the C library lacks: musl has neither close_range(2) nor the lists of queue(7). */
#ifndef SKELD_COMPAT_H
#define SKELD_COMPAT_H

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A thread that waits for such a mutex spins for a moment before it sleeps. */
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#define ADAPTIVE_MUTEX_INITIALIZER PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#else /* musl: each one does */
#define ADAPTIVE_MUTEX_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#endif

#ifndef __GLIBC__
static inline int close_range(unsigned first, unsigned last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}
#endif

#if __has_include(<sys/queue.h>)
#include <sys/queue.h>
#else
/* The macros of queue(7) that the daemon uses. */
#define TAILQ_HEAD(name, type)                                                                     \
	struct name {                                                                              \
		struct type *tqh_first, **tqh_last;                                                \
	}
#define TAILQ_ENTRY(type)                                                                          \
	struct {                                                                                   \
		struct type *tqe_next, **tqe_prev;                                                 \
	}
#define TAILQ_FIRST(head)	((head)->tqh_first)
#define TAILQ_EMPTY(head)	(!TAILQ_FIRST(head))
#define TAILQ_NEXT(item, field) ((item)->field.tqe_next)
#define TAILQ_FOREACH(item, head, field)                                                           \
	for ((item) = TAILQ_FIRST(head); (item); (item) = TAILQ_NEXT(item, field))
#define TAILQ_INIT(head) ((head)->tqh_first = NULL, (head)->tqh_last = &(head)->tqh_first)
#define TAILQ_INSERT_TAIL(head, item, field)                                                       \
	((item)->field.tqe_next = NULL, (item)->field.tqe_prev = (head)->tqh_last,                 \
	 *(head)->tqh_last = (item), (head)->tqh_last = &(item)->field.tqe_next)
#define TAILQ_REMOVE(head, item, field)                                                            \
	(*((item)->field.tqe_next ? &(item)->field.tqe_next->field.tqe_prev : &(head)->tqh_last) = \
		 (item)->field.tqe_prev,                                                           \
	 *(item)->field.tqe_prev = (item)->field.tqe_next)
#endif

#endif

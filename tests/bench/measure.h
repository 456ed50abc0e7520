/*
 * Shared by the measuring programs: a clock, samples, processor time and memory of a process, TCP
 * clients. Times are in microseconds, memory in bytes. For programs with one thread.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The measurement failed: print the message, with strerror(errno) in die(), and exit. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void diex(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The number in TEXT. Calls diex() if it is not a number between LOW and HIGH. */
double number_between(const char *text, double low, double high, const char *name);

double clock_us(void);
void pause_us(double us);

/*
 * Wake up as early as the permissions allow, by real-time scheduling if possible: the measured time
 * must not include our own wait for a processor. Only for a program that sleeps most of the time.
 */
void set_low_latency(void);

/* Processor time of all threads of PID and its children, including threads that have ended. */
double process_cpu_us(pid_t pid);

struct memory {
	double pss;	     /* proportional set size: shared pages count in parts */
	double heap;	     /* of that, what belongs to no file: heap and stacks */
	double private_used; /* pages of this process alone */
};

/*
 * Memory of PID and its children, in user space only. The kernel's memory for a socket, some
 * kilobytes, is not included; it is the same for each of the servers.
 */
struct memory process_memory(pid_t pid);

/* Samples of one quantity. Start with {0}, end with samples_free(). */
struct samples {
	double *values;
	size_t n, room;
};
void samples_add(struct samples *samples, double value);
void samples_clear(struct samples *samples);
void samples_free(struct samples *samples);
/* The quantile FRACTION, 0.5 for the median; 0 without samples. Sorts the samples. */
double samples_quantile(struct samples *samples, double fraction);

/* Raise RLIMIT_NOFILE to its hard limit. */
void raise_descriptor_limit(void);

/*
 * Connect to PORT on loopback. NUMBER selects the source address, from 127.0.0.2 on, so that no
 * source address runs out of ports. A non-blocking socket may still be connecting. Returns -1 and
 * errno if refused. The caller closes the socket.
 */
int client_connect(unsigned short port, unsigned number, bool blocking);

/* Transfer SIZE bytes. On a blocking socket they return false after 5 s. */
bool client_send(int fd, const void *bytes, size_t size);
bool client_receive(int fd, void *bytes, size_t size);

#endif

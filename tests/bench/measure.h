/*
 * What every measuring program needs: a clock, samples, a look at another process, a client.
 * Times are microseconds, memory is bytes. One thread.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Ends the program with this message (and errno, for die): a measurement that failed. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void diex(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The number in TEXT; diex()s when it is none, or outside [low, high]. */
double number_between(const char *text, double low, double high, const char *name);

double clock_us(void);
void pause_us(double us);

/*
 * For a program that looks at the clock when another has done something: it should not itself
 * wait for a processor then. As real-time as it is allowed to be; only for one that mostly sleeps.
 */
void be_prompt(void);

/* Processor time of all threads of PID, those that ended included. */
double process_cpu_us(pid_t pid);

struct memory {
	double pss;	     /* shared pages divided by those who share them */
	double private_used; /* pages nobody shares */
};

/*
 * Memory of PID and its children. It is user memory: what the kernel holds per socket (some
 * kilobytes in slabs, the same for every server here) is in no process's figure.
 */
struct memory process_memory(pid_t pid);

/* Samples of one quantity, owned by the caller: {0} is empty, samples_free() frees. */
struct samples {
	double *values;
	size_t n, room;
};
void samples_add(struct samples *samples, double value);
void samples_clear(struct samples *samples);
void samples_free(struct samples *samples);
/* The value below which FRACTION of the samples lie; sorts them. 0 without samples. */
double samples_at(struct samples *samples, double fraction);

/* As many descriptors as this process may have. */
void raise_descriptor_limit(void);

/*
 * A connection to PORT on loopback, from 127.0.0.2 and up by NUMBER, so that no source address
 * runs out of ports. Blocking, or non-blocking and perhaps still connecting.
 * -1 and errno when refused. The caller closes it.
 */
int client_connect(unsigned short port, unsigned number, bool blocking);

/* All of it within 5 s, or false. */
bool client_send(int fd, const void *bytes, size_t size);
bool client_receive(int fd, void *bytes, size_t size);

#endif

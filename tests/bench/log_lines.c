/*
 * log_lines writer|direct FILE THREADS LINES INTERVAL: the cost of the log.
 *
 * Each thread logs LINES lines to FILE, with INTERVAL microseconds between two of them. With
 * `writer`, a thread writes them as in the daemon; with `direct`, the thread that logs makes one
 * write(2) for each line. Prints `call_us` (a thread waits so long for a line to be logged), and
 * for the lines that were written `cpu_us` (processor time for each) and `per_second`; also `lost`.
 */
#include "base/log.h"
#include "measure.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS_MAX = 64 };

static long lines, interval;

/* The length of a usual line. Returns the time of all calls. */
static void *log_lines(void *total)
{
	for (long i = 0; i < lines; i++) {
		double began = clock_us();
		log_info("connection 127.0.0.1:%ld accepted by worker %d, connections=%ld", i, 1,
			 i);
		*(double *)total += clock_us() - began;
		if (interval)
			pause_us((double)interval);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS_MAX];
	double waited[THREADS_MAX] = {0}, sum = 0;
	char why[512];
	int n = argc == 6 ? atoi(argv[3]) : 0;
	if (n < 1 || n > THREADS_MAX) {
		fprintf(stderr, "usage: log_lines writer|direct FILE THREADS LINES INTERVAL\n");
		return 64;
	}
	lines = atol(argv[4]);
	interval = atol(argv[5]);
	struct log_target *t = log_open(LOG_TO_FILE, argv[2], why, sizeof(why));
	if (!t || (strcmp(argv[1], "writer") == 0 && log_start() != 0)) {
		fprintf(stderr, "%s\n", t ? "no thread" : why);
		return 1;
	}
	log_switch(t);
	double cpu = process_cpu_us(getpid()), began = clock_us();
	for (int i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, log_lines, &waited[i]) != 0)
			return 1;
	for (int i = 0; i < n; i++) {
		pthread_join(thread[i], NULL);
		sum += waited[i];
	}
	log_flush();
	double all = (double)n * (double)lines, written = all - (double)log_lost();
	printf("call_us %.3f\ncpu_us %.3f\nper_second %.0f\nlost %llu\n", sum / all,
	       (process_cpu_us(getpid()) - cpu) / written, written / (clock_us() - began) * 1e6,
	       (unsigned long long)log_lost());
	log_stop();
	return 0;
}

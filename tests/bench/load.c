/*
 * load: latency and errors of the clients of a server, and the server's cost per message.
 *
 * Prints `name value` lines: per_second, p50_us, p99_us, errors. With -p also cpu_us, the processor
 * time of the server per message. first_replies_us is the time until all clients, which connect at
 * once, have their first reply. bytes_each and heap_each are the memory of an idle connection in
 * the server. With -d, latency is that of the last reply of a batch. Compare servers by cpu_us: the
 * single thread of the clients limits the rate.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: load [-k PROTOCOL] [-d DEPTH] [-c CONNECTIONS] [-b BYTES] [-t SECONDS] [-p PID]\n"
	"            [-r RATE] [-n] [-s | -S] [-m] PORT\n"
	"  -k  echo, memcached-get, memcached-set, redis-get, redis-set or http (echo)\n"
	"  -d  pipelined requests: messages that are sent at once (1)\n"
	"  -c  simultaneous connections (1)\n"
	"  -b  bytes per message or value (64)\n"
	"  -t  seconds to measure, after a warm-up of a fifth of that (1)\n"
	"  -p  pid of the server, for cpu_us, which includes its child processes\n"
	"  -r  messages per second in all, evenly spaced (next message after each reply)\n"
	"  -n  a new connection for every message\n"
	"  -s  TLS 1.3; -S: with -n, resume the session of the connection before\n"
	"  -m  only open the connections, and send one message on each: bytes_each, heap_each\n";

struct arguments {
	struct load load;
	size_t bytes;
	double seconds;
	pid_t pid;
	const char *protocol;
};

static void parse(int argc, char **argv, struct arguments *options)
{
	int option;

	while ((option = getopt(argc, argv, "k:d:c:b:t:p:r:nsSmh")) != -1) {
		switch (option) {
		case 'k':
			options->protocol = optarg;
			break;
		case 'd':
			options->load.depth = (size_t)number_between(optarg, 1, 1e5, "-d");
			break;
		case 'c':
			options->load.connections = (size_t)number_between(optarg, 1, 1e6, "-c");
			break;
		case 'b':
			options->bytes = (size_t)number_between(optarg, 1, 1 << 20, "-b");
			break;
		case 't':
			options->seconds = number_between(optarg, 0.001, 3600, "-t");
			break;
		case 'p':
			options->pid = (pid_t)number_between(optarg, 1, 1 << 30, "-p");
			break;
		case 'r':
			options->load.rate = number_between(optarg, 1, 1e7, "-r");
			break;
		case 'n':
			options->load.reconnect = true;
			break;
		case 's':
			options->load.kind = CHANNEL_TLS;
			break;
		case 'S':
			options->load.kind = CHANNEL_TLS_RESUMED;
			break;
		case 'm':
			options->load.hold = true;
			break;
		default:
			fputs(usage, option == 'h' ? stdout : stderr);
			exit(option == 'h' ? 0 : 64);
		}
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		exit(64);
	}
	if (options->load.hold && !options->pid)
		diex("-m needs -p");
	options->load.port = (unsigned short)number_between(argv[optind], 1, 65535, "PORT");
}

static void measure(struct load *load, double seconds, pid_t pid)
{
	double began = clock_us(), first_replies, cpu = 0, messages;

	load_open(load);
	load_wait_first_replies(load);
	first_replies = clock_us() - began;
	load_run(load, seconds / 5);
	samples_clear(&load->latency);
	began = clock_us();
	if (pid)
		cpu = process_cpu_us(pid);
	load_run(load, seconds);
	if (pid)
		cpu = process_cpu_us(pid) - cpu;
	if (!load->latency.n)
		diex("no reply, %ld errors", load->errors);
	messages = (double)load->latency.n * (double)load->depth;
	printf("per_second %.0f\n", messages * 1e6 / (clock_us() - began));
	if (pid)
		printf("cpu_us %.4f\n", cpu / messages);
	printf("p50_us %.1f\n", samples_quantile(&load->latency, 0.50));
	printf("p99_us %.1f\n", samples_quantile(&load->latency, 0.99));
	printf("first_replies_us %.0f\n", first_replies);
	printf("errors %ld\n", load->errors);
	load_close(load);
}

static void measure_memory(struct load *load, pid_t pid)
{
	struct memory before = process_memory(pid), after;
	double n = (double)load->connections;

	load_open(load);
	load_wait_first_replies(load);
	after = process_memory(pid);
	printf("bytes_each %.0f\n", (after.pss - before.pss) / n);
	printf("heap_each %.0f\n", (after.heap - before.heap) / n);
	printf("errors %ld\n", load->errors);
	load_close(load);
}

int main(int argc, char **argv)
{
	struct arguments options = {.load.connections = 1,
				    .load.depth = 1,
				    .bytes = 64,
				    .seconds = 1,
				    .protocol = "echo"};

	parse(argc, argv, &options);
	raise_descriptor_limit();
	if (options.load.rate > 0)
		set_low_latency();
	load_compose(&options.load, options.protocol, options.bytes);
	if (options.load.hold)
		measure_memory(&options.load, options.pid);
	else
		measure(&options.load, options.seconds, options.pid);
	return 0;
}

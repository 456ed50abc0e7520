/*
 * load: latency and errors of the clients of an echo server, and the server's cost per message.
 *
 * Prints `name value` lines: per_second, p50_us, p99_us, errors. With -p also cpu_us, the processor
 * time of the server per message. first_replies_us is the time until all clients, which connect at
 * once, have their first reply. Compare servers by cpu_us: the single thread of the clients limits
 * the rate.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: load [-c CONNECTIONS] [-b BYTES] [-t SECONDS] [-p PID] [-r RATE] [-n] [-m] PORT\n"
	"  -c  simultaneous connections (1)\n"
	"  -b  bytes per message (64)\n"
	"  -t  seconds to measure, after a warm-up of a fifth of that (1)\n"
	"  -p  pid of the server, for cpu_us\n"
	"  -r  messages per second in all, evenly spaced (next message after each reply)\n"
	"  -n  a new connection for every message\n"
	"  -m  memcached: set a value of BYTES once, then get it\n";

struct arguments {
	struct load load;
	size_t bytes;
	double seconds;
	pid_t pid;
	bool memcached;
};

static void parse(int argc, char **argv, struct arguments *options)
{
	int option;

	while ((option = getopt(argc, argv, "c:b:t:p:r:nmh")) != -1) {
		switch (option) {
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
		case 'm':
			options->memcached = true;
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
	options->load.port = (unsigned short)number_between(argv[optind], 1, 65535, "PORT");
}

/* Neighbouring bytes differ, so that lost or swapped bytes are detected. */
static void fill(char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)('a' + i * 7 % 26);
}

static void store_value(unsigned short port, const char *value, size_t size)
{
	char command[64], answer[8];
	int length = snprintf(command, sizeof(command), "set k 0 0 %zu\r\n", size);
	int fd = client_connect(port, 0, true);

	if (fd < 0 || !client_send(fd, command, (size_t)length) || !client_send(fd, value, size) ||
	    !client_send(fd, "\r\n", 2) || !client_receive(fd, answer, 8) ||
	    memcmp(answer, "STORED\r\n", 8) != 0)
		die("memcached on port %d: cannot set a value", port);
	close(fd);
}

/* Set the request and the reply. Returns their buffer; the caller frees it. */
static char *compose_messages(struct arguments *options)
{
	static const char get[] = "get k\r\n", end[] = "\r\nEND\r\n";
	char *reply = malloc(options->bytes + 64), *value = reply;

	if (!reply)
		die("cannot allocate a message of %zu bytes", options->bytes);
	if (options->memcached)
		value += sprintf(reply, "VALUE k 0 %zu\r\n", options->bytes);
	fill(value, options->bytes);
	options->load.request = options->load.reply = reply;
	options->load.request_size = options->load.reply_size = options->bytes;
	if (options->memcached) {
		store_value(options->load.port, value, options->bytes);
		memcpy(value + options->bytes, end, sizeof(end));
		options->load.reply_size += (size_t)(value - reply) + sizeof(end) - 1;
		options->load.request = get;
		options->load.request_size = sizeof(get) - 1;
	}
	return reply;
}

static void measure(struct load *load, double seconds, pid_t pid)
{
	double began = clock_us(), first_replies, cpu = 0;

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
	printf("per_second %.0f\n", (double)load->latency.n * 1e6 / (clock_us() - began));
	if (pid)
		printf("cpu_us %.4f\n", cpu / (double)load->latency.n);
	printf("p50_us %.1f\n", samples_quantile(&load->latency, 0.50));
	printf("p99_us %.1f\n", samples_quantile(&load->latency, 0.99));
	printf("first_replies_us %.0f\n", first_replies);
	printf("errors %ld\n", load->errors);
	load_close(load);
}

int main(int argc, char **argv)
{
	struct arguments options = {.load.connections = 1, .bytes = 64, .seconds = 1};
	char *messages;

	parse(argc, argv, &options);
	raise_descriptor_limit();
	if (options.load.rate > 0)
		set_low_latency();
	messages = compose_messages(&options);
	measure(&options.load, options.seconds, options.pid);
	free(messages);
	return 0;
}

/*
 * The commands of probe. Each gets its arguments (argv[0] is its name), prints `name value`
 * lines, and ends the program with a message when the measurement failed.
 */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

void probe_hold(int argc, char **argv);
void probe_reload(int argc, char **argv);
void probe_reloads(int argc, char **argv);
void probe_signal(int argc, char **argv);
void probe_start(int argc, char **argv);

#endif

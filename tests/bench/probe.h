/*
 * The commands of probe. argv[0] is the name of the command. Each prints `name value` lines. If the
 * measurement fails, it ends the program with a message.
 */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

void probe_hold(int argc, char **argv);
void probe_reload(int argc, char **argv);
void probe_reloads(int argc, char **argv);
void probe_signal(int argc, char **argv);
void probe_start(int argc, char **argv);

#endif

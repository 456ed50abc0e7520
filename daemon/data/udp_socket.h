/* The sockets of a UDP listener: their options, and their retirement. */
#ifndef SKELD_UDP_SOCKET_H
#define SKELD_UDP_SOCKET_H

#include "base/address.h"

#include <stdint.h>

/* Set the options that data/datagram.c relies on. */
bool udp_socket_set_options(int fd, const struct address *a);

/*
 * The listener is being removed: let the kernel deliver nothing more to FD, which is bound to A.
 * What it has queued can still be read, and FD still sends. A datagram that arrives now goes to
 * another listener of its address, or is refused (ICMP port unreachable).
 */
void udp_socket_retire(int fd, const struct address *a);

/* The number of datagrams that the kernel has dropped since the socket was created, most often
 * because its queue was full. 0 if it cannot be read. */
uint32_t udp_socket_drops(int fd);

#endif

/* Clients of the echo service, on non-blocking sockets with a deadline for everything. */
#ifndef SKELD_TESTS_CLIENT_H
#define SKELD_TESTS_CLIENT_H

#include "harness.h"

/* Connect to ADDRESS, "host:port", "udp:host:port" or "unix:path". Returns -1 if refused. The
 * client is closed by client_close(), at EOF, or by daemon_finish(). */
int client_try(const char *address);
/* Connect to the listener TITLE at its address in the log. */
int client_connect(const char *title);
/* The same for TCP, but the handshake is half done: the client's acknowledgement is delayed until
 * it sends, or for 200 ms at most (TCP_QUICKACK, tcp(7)). */
int client_connect_half(const char *title);
/* Connect to the unix socket NAME in the private directory. */
int client_unix(const char *name);
/* The last address of the listener TITLE in the log. */
const char *listener_address(const char *title);

void client_send(int fd, const char *text);
void client_send_bytes(int fd, const void *bytes, size_t n);
/* Expect these as the next bytes. */
void client_expect(int fd, const char *text);
void client_expect_bytes(int fd, const void *bytes, size_t n);
void client_expect_eof(int fd); /* and close */
/* Discard what the service still writes, until it closes or resets the connection. And close. */
void client_await_end(int fd);
void client_close(int fd);
/* Send TEXT and wait for its echo. */
void client_echo(int fd, const char *text);

#endif

/*
 * A model of moved and removed listeners: their sockets, the handshakes and queues in the kernel,
 * and the workers that accept. Each reload replaces the only listener by another one. spin(1) tries
 * every order of the steps.
 *
 *   N      number of workers, 2 or 3, and of sockets of each listener
 *   R      number of reloads
 *   MOVES  each listener has another address, and a client connects to one of them. Without MOVES,
 *          all listeners serve the client's address: 0.0.0.0:80 and 127.0.0.1:80
 *   STUCK  worker 0 may hang forever
 *   M_...  a mistake that spin has to find: see tests/verify/model/handover
 *
 * The assertions: no client waits forever, except in the queue of a stuck worker's socket of the
 * current listener. No client that has an answer to its SYN is reset. No client is refused at an
 * address that is served before and after a reload. Every removed listener is closed, unless a
 * worker is stuck.
 *
 * A step is a system call, or what the kernel does with one segment. Time is not modelled: every
 * handshake ends within HANDSHAKE_SECONDS. handover.pml explains [[file:function: text]].
 */
#ifndef N
#define N 2
#endif
#ifndef R
#define R 2
#endif
#define L (R + 1) /* listeners */
#define C 2	  /* clients; each connects once */

mtype = {BOUND, LISTENS, REFUSES, CLOSED};	     /* a listener */
mtype = {NEW, HALF_DONE, QUEUED, SERVED, REFUSED}; /* a client */

mtype state[L] = BOUND;
bool control_has[L]; /* a reference of the control plane */
bool has[N * L];     /* a reference of the worker: its snapshots and acceptors */
bool own[N * L];     /* the worker accepts from its socket of the listener */
bool all[N * L];     /* from all sockets */
byte published[N], taken[N]; /* the newest listener that the worker was given, has taken */
byte current;
bool stuck, over;

mtype client[C] = NEW;
byte at[C], socket[C]; /* the listener and the socket that the kernel has chosen */

/* [[daemon/data/listener.c:listener_unref: atomic_fetch_sub(&l->refs, 1)]]
 * [[daemon/data/listener.c:listener_unref: close(l->fds[i])]]
 * close(2) resets handshakes and the queue. */
#define is_reset(c, l) ((client[c] == HALF_DONE || client[c] == QUEUED) && at[c] == l)
inline close_unless_used(l)
{
	if
	:: !control_has[l] && !has[l] && !has[L + l] && !has[(N - 1) * L + l] && state[l] != CLOSED ->
		assert(!is_reset(0, l) && !is_reset(1, l));
		state[l] = CLOSED
	:: else
	fi
}

/* The connection waits for this worker's acceptor, or will do so. */
#define may_accept(c, i, l)                                                                        \
	(client[c] == QUEUED && at[c] == l && (all[(i) * L + l] || (own[(i) * L + l] && socket[c] == i)))
#ifdef M_NO_TIME_FOR_HANDSHAKES
#define is_awaited(c, i, l) may_accept(c, i, l)
#else
#define is_awaited(c, i, l) (may_accept(c, i, l) || (client[c] == HALF_DONE && at[c] == l))
#endif

/* The acceptors of worker i for listener l, after its removal.
 * [[daemon/data/acceptor.c:on_accept: if (what & EV_TIMEOUT)]]
 * [[daemon/data/acceptor.c:on_accept: end_acceptor(a)]]
 * [[daemon/data/acceptor.c:end_acceptor: accept_some(a, QUEUE_LENGTH_MAX)]]
 * [[daemon/data/acceptor.c:end_acceptor: free_acceptor(a)]] */
proctype acceptors(byte i, l)
{
end:	d_step {
		has[i * L + l] && l < taken[i] && !(stuck && i == 0) && !is_awaited(0, i, l) &&
			!is_awaited(1, i, l) ->
		has[i * L + l] = false;
		own[i * L + l] = false;
		all[i * L + l] = false;
		close_unless_used(l)
	}
}

/* [[daemon/data/worker_loop.c:take_snapshot: acceptors_catch_up(w, next)]]
 * [[daemon/data/worker_loop.c:take_snapshot: acceptors_update(w, next)]]
 * [[daemon/data/acceptor.c:acceptors_catch_up: add_all_acceptors(w, untaken)]]
 * [[daemon/data/acceptor.c:acceptors_update: snapshot_serves(s, a->listener)]]
 * [[daemon/data/acceptor.c:acceptors_update: retire_acceptor(a)]]
 * [[daemon/data/acceptor.c:acceptors_update: add_all_acceptors(w, s)]]
 * [[daemon/data/acceptor.c:retire_acceptor: start_accepting(a)]]
 * [[daemon/data/acceptor.c:retire_acceptor: add_sockets(a->worker, a->listener, &a->opening)]]
 * [[daemon/data/acceptor.c:add_sockets: if (!l->refuses && !listener_is_assigned(]] */
proctype worker(byte i)
{
	byte l;
end:	do
	:: d_step {
			taken[i] != published[i] && !(stuck && i == 0) ->
			taken[i] = published[i];
			for (l : 0 .. L - 1) {
				own[i * L + l] = has[i * L + l];
#ifndef M_OWN_SOCKET_ONLY
				all[i * L + l] = has[i * L + l] && l < taken[i]
#endif
			}
			l = 0
		}
#ifdef STUCK
	:: i == 0 && !stuck -> stuck = true
#endif
	od
}

/* The kernel refuses a SYN if no socket listens on the address. */
inline connect_to(l)
{
	client[c] = HALF_DONE;
	at[c] = l
}

proctype client_process(byte c)
{
	byte target;
#ifdef MOVES
	if
	:: target = 0
	:: target = 1
	:: target = R
	fi;
#endif
	if
	:: socket[c] = 0
	:: socket[c] = N - 1
	fi;
end:	if
#ifdef MOVES
	:: d_step { state[target] == LISTENS -> connect_to(target) }
#ifdef M_DROPS_SYNS
	:: state[target] == BOUND || state[target] == CLOSED -> client[c] = REFUSED
#else
	:: state[target] != LISTENS -> client[c] = REFUSED
#endif
#else
	:: d_step { state[0] == LISTENS -> connect_to(0) }
	:: d_step { state[1] == LISTENS -> connect_to(1) }
	:: d_step { state[R] == LISTENS -> connect_to(R) }
	:: state[0] != LISTENS && state[1] != LISTENS && state[R] != LISTENS -> assert(false)
#endif
	fi;
	/* The client's acknowledgement arrives. */
	if
	:: client[c] == HALF_DONE -> client[c] = QUEUED
	:: client[c] == REFUSED -> goto over_
	fi;
	/* [[daemon/data/acceptor.c:on_accept: accept_some(a, a->batch)]] */
end_queued:
	if
	:: d_step { !stuck && may_accept(c, 0, at[c]) -> client[c] = SERVED }
	:: d_step { may_accept(c, 1, at[c]) -> client[c] = SERVED }
	:: d_step { may_accept(c, N - 1, at[c]) -> client[c] = SERVED }
	fi;
over_:	skip
}

#define ends_well(c)                                                                               \
	(client[c] == SERVED || client[c] == REFUSED || (stuck && at[c] == current && socket[c] == 0))

active proctype control()
{
	byte w;
	atomic {
		state[0] = LISTENS;
		control_has[0] = true;
		for (w : 0 .. N - 1) {
			has[w * L] = true;
			own[w * L] = true;
			run worker(w);
			run acceptors(w, 0);
			run acceptors(w, 1);
			if
			:: R > 1 -> run acceptors(w, R)
			:: else
			fi
		}
		w = 0;
		run client_process(0);
		run client_process(1)
	}
	do
	:: current == R -> break
	:: current < R ->
		/* [[daemon/control/reload.c:prepare_and_commit: if (prepare(d, &p, e))]]
		 * [[daemon/data/snapshot.c:add_listeners: listener_listen(b->s->listener[i], b->s->section[i], e)]]
		 * [[daemon/control/reload.c:prepare_and_commit: commit(d, &p)]]
		 * [[daemon/control/reload.c:commit: switch_listeners(d, new, old)]]
		 * [[daemon/control/reload.c:switch_listeners: listener_retire(old->listener[i])]]
		 * [[daemon/data/listener.c:listener_retire: else if (refuse_connections(l->fds[i]))]]
		 * [[daemon/data/listener.c:refuse_connections: SO_BINDTOIFINDEX]]
		 * [[daemon/control/reload.c:commit: workers_publish(d->workers, new)]]
		 * [[daemon/control/reload.c:commit: snapshot_unref(old)]]
		 * [[daemon/control/reload.c:reload_check: listeners_prune(&d->retired)]] */
		control_has[current + 1] = true;
#ifdef M_RETIRED_FIRST
		state[current] = REFUSES;
		state[current + 1] = LISTENS;
#else
		state[current + 1] = LISTENS;
		state[current] = REFUSES;
#endif
#ifdef M_SHUTDOWN
		assert(!is_reset(0, current) && !is_reset(1, current));
#endif
		for (w : 0 .. N - 1) {
			d_step {
#ifdef M_UNTAKEN_LOST
				has[w * L + published[w]] = taken[w] == published[w];
#endif
				has[w * L + current + 1] = true;
				published[w] = current + 1
			}
		}
		w = 0;
		d_step {
			control_has[current] = false;
			close_unless_used(current);
			current++
		}
	od;
	timeout;
	assert(ends_well(0) && ends_well(1));
	for (w : 0 .. R - 1) {
		assert(stuck || state[w] == CLOSED)
	}
}

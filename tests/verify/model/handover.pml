/*
 * A model of how a snapshot passes from the control plane to the workers and is freed. spin(1)
 * tries every order in which the threads can take their steps.
 *
 *   N             number of workers
 *   R             number of SIGHUPs; each reload may be rejected
 *   NEVER_STOPPED no stop signal arrives
 *   TIMERS        each deadline may pass at any time. Without TIMERS no deadline passes: everything
 *                 has to end because of a report.
 *   STUCK         worker 0 may hang in a callback, for some time or (with TIMERS) forever
 *   DUCK          a stop may begin with the lame duck state (with TIMERS)
 *   START_FAILS   a thread cannot be created, or its service does not start
 *   FAILS         the event loop of worker 0 may end unexpectedly
 *   M_...         a mistake that spin has to find: see tests/verify/model/handover
 *
 * A step is what a thread does between two points at which another thread can observe it: one
 * atomic access or one system call. [[file:function: text]] names the code of a step;
 * tests/verify/model/handover checks that the code exists, in this order. Memory order is not
 * modelled: all accesses are sequentially consistent, as is the default for C atomics.
 */
#ifndef N
#define N 2
#endif
#ifndef R
#define R 2
#endif
#define S (R + 2) /* snapshots: the first, one for each reload, one for the drain */
#define NONE 255

#ifdef TIMERS
#define timers true
#else
#define timers false
#endif

#define DRAIN 1
#define CLOSE 2
#define QUIT 4

mtype = {STARTING, RUNNING, RELOADING, LAME_DUCK, DRAINING, STOPPED};

/* Snapshots. */
byte refs[S], gen[S], made;
bool freed[S];
byte untaken[S * N] = NONE; /* struct snapshot: untaken[] */

/* struct worker: what the control plane and the worker share. */
byte next[N] = NONE, generation[N], orders[N];
bool wake[N], drained[N], ended[N];
byte used[N] = NONE; /* w->snapshot: the one that callbacks use */
bool dead[N];	     /* the thread has ended: pthread_join() returns */
byte posts;	     /* sem_post(&ws->started) */

/* struct daemon. */
mtype state = STARTING;
bool progress; /* progress_fd is readable */
byte current = NONE;
bool exited;   /* the process has exited */
bool wanted; /* a SIGHUP was handled, and no reload has begun since */

inline new_snapshot(s, its_generation)
{
	d_step {
		s = made;
		made++;
		refs[s] = 1;
		gen[s] = its_generation
	}
}

/* [[daemon/data/snapshot.c:snapshot_ref: atomic_fetch_add(&s->refs, 1)]] */
inline ref(s)
{
	assert(!freed[s] && refs[s] > 0);
	refs[s]++
}

/* [[daemon/data/snapshot.c:snapshot_unref: if (!s || atomic_fetch_sub(&s->refs, 1) != 1)]]
 * [[daemon/data/snapshot.c:snapshot_unref: free(s)]] */
inline unref(s)
{
	/* The last decrement and the free are one step: an access between them would already find
	 * no reference, which the assertion rejects. */
	if
	:: s == NONE
	:: else ->
		d_step {
			assert(!freed[s] && refs[s] > 0);
			refs[s]--;
			if
			:: refs[s] > 0
			:: else ->
				freed[s] = true;
				assert(current != s);
				for (k : 0 .. N - 1) {
					assert(used[k] != s && next[k] != s && untaken[s * N + k] == NONE)
				}
				k = 0
			fi;
			s = NONE
		}
	fi
}

/* Release the untaken snapshots of worker w, newest first: [[daemon/data/acceptor.c:acceptors_catch_up: while (untaken)]]
 * [[daemon/data/acceptor.c:acceptors_catch_up: untaken->untaken[w->index] = NULL]]
 * [[daemon/data/acceptor.c:acceptors_catch_up: snapshot_unref(untaken)]] */
inline unref_untaken(s, w, next_untaken)
{
	do
	:: s == NONE -> break
	:: else ->
		next_untaken = untaken[s * N + w];
		untaken[s * N + w] = NONE;
		unref(s);
		s = next_untaken
	od;
	next_untaken = NONE
}

/* [[daemon/data/worker.c:worker_report_progress: eventfd_write(w->workers->progress_fd, 1)]] */
#define report_progress progress = true

/* [[daemon/data/worker.c:worker_report_if_drained: if (worker_drains(w) && !w->n_connections]]
 * [[daemon/data/worker.c:worker_report_if_drained: !atomic_exchange(&w->drained, true)]]
 * [[daemon/data/worker.c:worker_report_if_drained: worker_report_progress(w)]] */
inline note_if_drained()
{
	if
	:: (done & DRAIN) && !connection && !drained[i] ->
#ifndef M_DRAINED_REPORT_FIRST
		drained[i] = true;
#endif
		to_report = true
	:: else
	fi
}

inline report_if_noted()
{
	if
	:: to_report ->
		report_progress;
#ifdef M_DRAINED_REPORT_FIRST
		drained[i] = true;
#endif
		to_report = false
	:: else
	fi
}

/* [[daemon/data/worker_loop.c:take_snapshot: atomic_exchange(&w->next_snapshot, NULL)]]
 * [[daemon/data/worker_loop.c:take_snapshot: if (!next)]]
 * [[daemon/data/worker_loop.c:take_snapshot: w->snapshot = next]]
 * [[daemon/data/worker_loop.c:take_snapshot: acceptors_catch_up(w, next)]]
 * [[daemon/data/worker_loop.c:take_snapshot: snapshot_unref(old)]]
 * [[daemon/data/worker_loop.c:take_snapshot: atomic_store(&w->generation, next->generation)]]
 * [[daemon/data/worker_loop.c:take_snapshot: worker_report_progress(w)]] */
#ifdef M_WAKE_READ_LAST
#define read_wake skip
#else
#define read_wake wake[i] = false
#endif

inline take_snapshot()
{
	/* Reading wake_fd and the exchange are one step: a snapshot published between the two has the
	 * same effect as one published before, with wake_fd written later. snapshot_unref() belongs to
	 * the same step: no thread waits for it. */
#ifdef M_WORKER_LOADS
	read_wake;
	taken = next[i];
#endif
	atomic {
#ifndef M_WORKER_LOADS
		read_wake;
		taken = next[i];
#endif
		next[i] = NONE;
		if
		:: taken == NONE
		:: else ->
			old = untaken[taken * N + i];
			untaken[taken * N + i] = NONE;
			unref_untaken(old, i, next_untaken);
#ifdef M_UNREF_FIRST
			old = used[i];
			unref(old);
			used[i] = taken
#else
#ifndef M_GENERATION_FIRST
			old = used[i];
			used[i] = taken;
			unref(old)
#endif
#endif
		fi
	}
	if
	:: taken == NONE
	:: else ->
#ifdef M_REPORT_FIRST
		report_progress;
#endif
		d_step {
			assert(!freed[taken]);
			generation[i] = gen[taken];
#ifndef M_GENERATION_FIRST
			taken = NONE
#endif
		}
#ifndef M_REPORT_FIRST
		report_progress;
#endif
#ifdef M_GENERATION_FIRST
		atomic {
			old = used[i];
			used[i] = taken;
			taken = NONE;
			unref(old)
		}
#endif
	fi
}

inline carry_out_orders()
{
	/* [[daemon/data/worker_loop.c:carry_out_orders: atomic_load(&w->orders) & ~w->orders_done]]
	 * [[daemon/data/worker_loop.c:carry_out_orders: if (orders & ORDER_CLOSE)]]
	 * [[daemon/data/worker_loop.c:carry_out_orders: connection_list_close(w)]]
	 * [[daemon/data/worker_loop.c:carry_out_orders: event_base_loopbreak(w->base)]]
	 * [[daemon/data/worker_loop.c:carry_out_orders: w->orders_done |= orders]] */
	/* [[daemon/data/worker_loop.c:carry_out_orders: worker_report_if_drained(w)]] */
	d_step {
		done = done | orders[i];
		if
		:: done & CLOSE -> connection = false
		:: else
		fi;
		note_if_drained()
	}
	report_if_noted()
}

proctype worker(byte i)
{
	byte taken = NONE, old = NONE, next_untaken = NONE, done, k;
	bool to_report, failed, connection, slow, was_stuck;

	/* [[daemon/data/worker_loop.c:run_worker: w->snapshot = atomic_exchange(&w->next_snapshot, NULL)]]
	 * [[daemon/data/worker_loop.c:run_worker: atomic_store(&w->generation, w->snapshot->generation)]] */
	d_step {
		used[i] = next[i];
		next[i] = NONE;
		assert(!freed[used[i]]);
		generation[i] = gen[used[i]]
	}
	if
#ifdef START_FAILS
	:: /* [[daemon/data/worker_loop.c:run_worker: atomic_store(&w->ended, true)]]
	    * [[daemon/data/worker_loop.c:run_worker: worker_report_progress(w)]]
	    * [[daemon/data/worker_loop.c:run_worker: sem_post(&w->workers->started)]] */
		ended[i] = true;
#ifndef M_FAILS_UNREPORTED
		report_progress;
#endif
		d_step {
			posts++;
			dead[i] = true
		}
		goto over
#endif
	:: posts++
	:: i == 0 ->
		posts++;
		connection = true
#ifdef TIMERS
	:: i == 0 ->
		posts++;
		connection = true;
		slow = true
#endif
	fi;

	/* [[daemon/data/worker_loop.c:run_worker: event_base_dispatch(w->base)]] */
end:	do
	/* [[daemon/data/worker_loop.c:on_wake: eventfd_read(fd, &n)]]
	 * [[daemon/data/worker_loop.c:on_wake: take_snapshot(w)]]
	 * [[daemon/data/worker_loop.c:on_wake: carry_out_orders(w)]] */
	:: wake[i] ->
		take_snapshot();
		carry_out_orders();
#ifdef M_WAKE_READ_LAST
		wake[i] = false;
#endif
		if
		:: done & QUIT -> break
		:: else
		fi
	:: connection && !slow && (done & DRAIN) ->
		d_step {
			connection = false;
			note_if_drained()
		}
		report_if_noted()
#ifdef STUCK
	:: i == 0 && !was_stuck ->
		was_stuck = true;
		if
		:: skip
		:: goto for_ever
		fi
#endif
#ifdef FAILS
	:: i == 0 ->
		failed = true;
		break
#endif
	od;
	assert(!connection || failed);
	/* [[daemon/data/worker_loop.c:run_worker: atomic_store(&w->ended, true)]]
	 * [[daemon/data/worker_loop.c:run_worker: worker_report_progress(w)]] */
	ended[i] = true;
	d_step {
#ifndef M_QUITS_UNREPORTED
		report_progress;
#endif
		dead[i] = true
	}
	goto over;
#ifdef STUCK
for_ever:
end_stuck:
	false;
#endif
over:	skip
}

/* [[daemon/data/workers.c:wake: eventfd_write(w->wake_fd, 1)]] */
#define wake_worker(w) wake[w] = true

/* [[daemon/data/workers.c:workers_publish: snapshot_set_untaken(s, i, atomic_exchange(&ws->worker[i].next_snapshot, NULL))]]
 * [[daemon/data/workers.c:workers_publish: atomic_store(&ws->worker[i].next_snapshot, snapshot_ref(s))]]
 * [[daemon/data/workers.c:workers_publish: wake(&ws->worker[i])]]
 * [[daemon/data/snapshot.c:snapshot_set_untaken: s->untaken[worker] = replaced]]
 * [[daemon/data/snapshot.c:snapshot_set_untaken: has_all_listeners(s, replaced)]]
 * [[daemon/data/snapshot.c:snapshot_set_untaken: s->untaken[worker] = replaced->untaken[worker]]]
 * [[daemon/data/snapshot.c:snapshot_set_untaken: replaced->untaken[worker] = NULL]]
 * [[daemon/data/snapshot.c:snapshot_set_untaken: snapshot_unref(replaced)]]
 * The exchange and the store are one step: a worker that looks between them finds no snapshot, as
 * after a spurious wake-up. */
inline publish(s)
{
	for (w : 0 .. N - 1) {
#ifdef M_WAKE_FIRST
		wake_worker(w);
#endif
#ifdef M_CONTROL_LOADS
		replaced = next[w];
#endif
		atomic {
#ifndef M_NO_REF
			ref(s);
#endif
#ifndef M_CONTROL_LOADS
			replaced = next[w];
#endif
			if
			:: replaced == NONE
			:: replaced != NONE -> /* it has listeners that s lacks */
				untaken[s * N + w] = replaced;
				replaced = NONE
			:: replaced != NONE ->
				untaken[s * N + w] = untaken[replaced * N + w];
				untaken[replaced * N + w] = NONE;
				unref(replaced)
			fi;
			next[w] = s
		}
#ifndef M_WAKE_FIRST
		wake_worker(w)
#endif
	}
	w = 0
}

/* [[daemon/data/workers.c:send_order: atomic_fetch_or(&ws->worker[i].orders, order)]]
 * [[daemon/data/workers.c:send_order: wake(&ws->worker[i])]] */
inline send_order(bits)
{
	for (w : 0 .. N - 1) {
#ifdef M_ORDER_STORED
		orders[w] = bits;
#else
		orders[w] = orders[w] | bits;
#endif
		wake_worker(w)
	}
	w = 0
}

/* [[daemon/control/reload.c:count: event_del(r->overdue_timer)]]
 * [[daemon/control/reload.c:conclude: count(r, outcome, error)]]
 * [[daemon/control/reload.c:conclude: daemon_set_state(d, RUNNING)]]
 * [[daemon/control/reload.c:conclude: r->queued = false]]
 * [[daemon/control/reload.c:conclude: reload_begin(d)]] */
inline conclude()
{
	d_step {
		assert(state == RELOADING);
		overdue = false;
		state = RUNNING;
#ifdef M_QUEUED_FORGOTTEN
		begin = false;
#else
		begin = queued;
#endif
		queued = false
	}
}

/* [[daemon/control/reload.c:reload_begin: daemon_set_state(d, RELOADING)]]
 * [[daemon/control/reload.c:reload_begin: if (loader_request(&d->loader, &e) < 0]]
 * [[daemon/control/reload.c:reload_begin: reject(d, &e)]]
 * [[daemon/control/reload.c:reject: conclude(d, RELOAD_REJECTED]] */
inline reload_begin()
{
	atomic {
		assert(state == RUNNING && !busy);
		begin = false;
		wanted = false;
		state = RELOADING;
		if
		:: busy = true
		:: conclude()
		fi
	}
}

/* The loader always has a result; a timeout is a rejection.
 * [[daemon/control/reload.c:on_loader: if (!loader_poll(&d->loader))]]
 * [[daemon/control/reload.c:on_loader: loader_result(&d->loader, &e)]]
 * [[daemon/control/reload.c:on_loader: prepare_and_commit(d, NULL, &e)]]
 * [[daemon/control/reload.c:prepare_and_commit: if (prepare(d, &p, e))]]
 * [[daemon/control/reload.c:commit: struct snapshot *old = d->current]]
 * [[daemon/control/reload.c:commit: d->current = new]]
 * [[daemon/control/reload.c:commit: workers_publish(d->workers, new)]]
 * [[daemon/control/reload.c:commit: snapshot_unref(old)]]
 * [[daemon/control/reload.c:prepare_and_commit: daemon_set_timer(d, d->reload.overdue_timer]]
 * [[daemon/control/reload.c:on_loader: reject(d, &e)]] */
inline on_loader()
{
	atomic {
		assert(state == RELOADING);
		busy = false;
		if
		:: new_snapshot(new, gen[current] + 1);
			before = current;
			current = new;
			new = NONE
		:: conclude()
		fi
	}
	if
	:: before != NONE ->
		publish(current);
		unref(before);
		overdue = true
	:: else
	fi
}

/* [[daemon/control/state.c:daemon_leave: daemon_set_state(d, STOPPED)]]
 * [[daemon/control/state.c:daemon_leave: event_base_loopbreak(d->base)]] */
inline daemon_leave()
{
	d_step {
		state = STOPPED;
		/* These are not read any more. Reset them, for fewer states. */
		hups = 0;
		stopped = true;
		deadline = false;
		past_deadline = false;
		check_failures = false;
		all = false
	}
}

/* [[daemon/control/reload.c:reload_abandon: if (d->loader.busy)]]
 * [[daemon/control/reload.c:reload_abandon: loader_cancel(&d->loader)]]
 * [[daemon/control/reload.c:reload_abandon: if (d->state == RELOADING)]]
 * [[daemon/control/reload.c:reload_abandon: count(r, RELOAD_OK, NULL)]]
 * [[daemon/control/reload.c:reload_abandon: r->queued = false]] */
inline reload_abandon()
{
	d_step {
#ifndef M_OVERDUE_LEFT
		overdue = false;
#endif
#ifndef M_LOADING_LEFT
		busy = false;
#endif
		queued = false;
		wanted = false;
		hups = 0 /* later ones are ignored */
	}
}

/* [[daemon/control/shutdown.c:drain: daemon_set_state(d, DRAINING)]]
 * [[daemon/control/shutdown.c:drain: snapshot_without_listeners(d->current)]]
 * [[daemon/control/shutdown.c:drain: workers_publish(d->workers, last)]]
 * [[daemon/control/shutdown.c:drain: snapshot_unref(d->current)]]
 * [[daemon/control/shutdown.c:drain: d->current = last]]
 * [[daemon/control/shutdown.c:drain: workers_drain(d->workers)]]
 * [[daemon/control/shutdown.c:drain: daemon_set_timer(d, d->stop_timer]] */
inline drain()
{
	atomic {
		state = DRAINING;
		deadline = false;
		new_snapshot(new, gen[current])
	}
	publish(new);
	d_step {
		before = current;
		current = new;
		new = NONE
	}
	unref(before);
	send_order(DRAIN);
	deadline = true
}

/* [[daemon/control/shutdown.c:shutdown_begin: reload_abandon(d)]]
 * [[daemon/control/shutdown.c:shutdown_begin: drain(d)]]
 * [[daemon/control/shutdown.c:shutdown_begin: daemon_set_state(d, LAME_DUCK)]]
 * [[daemon/control/shutdown.c:shutdown_begin: daemon_set_timer(d, d->stop_timer]] */
inline shutdown_begin()
{
	atomic {
		reload_abandon();
		if
		:: true
#ifdef DUCK
		:: state = LAME_DUCK;
			deadline = true
#endif
		fi
	}
	if
	:: state == LAME_DUCK
	:: else -> drain()
	fi
}

inline on_workers()
{
	/* [[daemon/control/daemon.c:on_workers: eventfd_read(fd, &n)]]
	 * [[daemon/control/daemon.c:on_workers: reload_check(d)]]
	 * [[daemon/control/daemon.c:on_workers: shutdown_check(d)]]
	 * [[daemon/control/reload.c:reload_check: d->state == RELOADING && !d->loader.busy && !d->load.busy]]
	 * [[daemon/control/reload.c:reload_check: workers_behind(d->workers, generation, NULL))]]
	 * [[daemon/control/reload.c:reload_check: conclude(d, RELOAD_OK, NULL)]]
	 * [[daemon/control/shutdown.c:shutdown_check: if (d->state != STOPPED && workers_failed(d->workers))]]
	 * [[daemon/control/shutdown.c:shutdown_check: shutdown_after_failure(d]]
	 * [[daemon/control/shutdown.c:shutdown_after_failure: shutdown_now(d)]]
	 * [[daemon/data/workers.c:workers_failed: if (atomic_load(&ws->worker[i].ended))]]
	 * [[daemon/control/shutdown.c:shutdown_check: if (d->state != DRAINING || !workers_drained(d->workers))]]
	 * [[daemon/control/shutdown.c:shutdown_check: daemon_leave(d, 0)]]
	 * [[daemon/data/workers.c:workers_behind: atomic_load(&ws->worker[i].generation) < generation]]
	 * [[daemon/data/workers.c:workers_drained: if (!atomic_load(&ws->worker[i].drained))]] */
#ifndef M_PROGRESS_READ_LAST
	progress = false;
#endif
	all = true;
	if
#ifdef M_LOADING_IGNORED
	:: state == RELOADING ->
#else
	:: state == RELOADING && !busy ->
#endif
		for (w : 0 .. N - 1) {
			all = all && generation[w] >= gen[current]
		}
		w = 0;
		if
		:: all ->
			d_step { /* every worker uses the new snapshot */
				k = 0;
				for (k : 0 .. N - 1) {
					assert(gen[used[k]] == gen[current])
				}
				k = 0
			}
			conclude()
		:: else
		fi
	:: state == DRAINING ->
		for (w : 0 .. N - 1) {
			all = all && drained[w]
		}
		w = 0;
		if
		:: all -> daemon_leave()
		:: else
		fi
	:: else
	fi;
#ifdef M_PROGRESS_READ_LAST
	progress = false;
#endif
#ifdef FAILS
	check_failures = state != STOPPED;
#endif
	all = false
}

active proctype control()
{
	byte new = NONE, before = NONE, replaced = NONE, w, k, n_started;
	byte hups = R;
	bool check_failures, queued, begin, busy, overdue, deadline, past_deadline, all, stopped;

	new_snapshot(new, 1);
	current = new;
	new = NONE;
	/* [[daemon/data/workers.c:workers_start: atomic_store(&w->next_snapshot, snapshot_ref(s))]]
	 * [[daemon/data/workers.c:workers_start: worker_loop_start(w)]]
	 * [[daemon/data/workers.c:workers_start: ws->n_started++]]
	 * [[daemon/data/workers.c:workers_start: sem_wait(&ws->started)]]
	 * [[daemon/data/workers.c:workers_start: if (atomic_load(&ws->worker[i].ended))]] */
	do
	:: n_started == N -> break
	:: n_started < N ->
		d_step {
			ref(current);
			next[n_started] = current
		}
		if
#ifdef START_FAILS
		:: goto finish
#endif
		:: run worker(n_started)
		fi;
		n_started++
	od;
	posts == N;
	for (w : 0 .. N - 1) {
		if
		:: ended[w] -> goto finish
		:: else
		fi
	}
	w = 0;
	state = RUNNING;

end:	do
	:: state == STOPPED -> break
	:: begin -> reload_begin()
	/* The events of the loop, in any order. */
	/* [[daemon/control/reload.c:reload_queue: d->reload.queued = true]] */
	:: d_step {
			!begin && state != STOPPED && hups > 0 -> /* SIGHUP */
			hups--;
			wanted = state == RUNNING || state == RELOADING;
			begin = state == RUNNING;
			queued = queued || state == RELOADING
		}
	:: !begin && state != STOPPED && busy -> on_loader()
#ifndef NEVER_STOPPED
	:: !begin && state != STOPPED && !stopped -> /* SIGTERM; a second one stops at once, or does not arrive */
		if
		:: state == DRAINING || state == LAME_DUCK ->
			stopped = true;
			if
			:: daemon_leave()
			:: skip
			fi
		:: state == RUNNING || state == RELOADING -> shutdown_begin()
		:: state == RUNNING || state == RELOADING -> /* SIGQUIT */
			/* [[daemon/control/shutdown.c:shutdown_now: reload_abandon(d)]]
			 * [[daemon/control/shutdown.c:shutdown_now: daemon_leave(d, 1)]] */
			reload_abandon();
			daemon_leave()
		:: state == RUNNING || state == RELOADING -> /* no stop signal ever */
			stopped = true
		fi
#endif
	:: !begin && state != STOPPED && progress -> on_workers()
#ifdef FAILS
	:: !begin && check_failures -> /* the rest of on_workers(), after the reload that it began */
		check_failures = false;
		for (w : 0 .. N - 1) {
			if
			:: ended[w] && state != STOPPED ->
#ifdef M_FAILURE_UNSEEN
				skip
#else
				atomic {
					reload_abandon();
					daemon_leave()
				}
#endif
			:: else
			fi
		}
		w = 0
#endif
	:: !begin && state != STOPPED && overdue && timers ->
		/* [[daemon/control/reload.c:reload_overdue: conclude(d, RELOAD_OK, NULL)]] */
		conclude()
	:: !begin && state != STOPPED && deadline && timers ->
		/* [[daemon/control/shutdown.c:shutdown_on_timer: if (d->state == LAME_DUCK)]]
		 * [[daemon/control/shutdown.c:shutdown_on_timer: drain(d)]]
		 * [[daemon/control/shutdown.c:shutdown_on_timer: if (d->past_deadline)]]
		 * [[daemon/control/shutdown.c:shutdown_on_timer: daemon_leave(d, 1)]]
		 * [[daemon/control/shutdown.c:shutdown_on_timer: d->past_deadline = true]]
		 * [[daemon/control/shutdown.c:shutdown_on_timer: workers_close_connections(d->workers)]]
		 * [[daemon/control/shutdown.c:shutdown_on_timer: daemon_set_timer(d, d->stop_timer]] */
		if
		:: state == LAME_DUCK -> drain()
		:: state != LAME_DUCK && past_deadline -> daemon_leave()
		:: state != LAME_DUCK && !past_deadline ->
			past_deadline = true;
			send_order(DRAIN | CLOSE)
		fi
	od;

finish:
	/* [[daemon/control/daemon.c:end_workers: workers_close_connections(d->workers)]]
	 * [[daemon/control/daemon.c:end_workers: workers_join(d->workers, JOIN_SECONDS, &first)]]
	 * [[daemon/data/workers.c:workers_join: workers_quit(ws, seconds)]]
	 * [[daemon/data/workers.c:workers_quit: send_order(ws, ORDER_QUIT)]]
	 * [[daemon/data/workers.c:workers_quit: !all_ended(ws)]]
	 * [[daemon/data/workers.c:workers_quit: poll(&progress, 1]]
	 * [[daemon/data/workers.c:workers_quit: eventfd_read(ws->progress_fd, &n)]] */
	w = 0;
	send_order(DRAIN | CLOSE);
	send_order(QUIT);
	do
	:: d_step {
			all = true;
			for (w : 0 .. n_started - 1) {
				all = all && ended[w]
			}
			w = 0
		}
		if
		:: all -> break
		:: else
		fi;
		if
		:: progress -> progress = false
		:: timers -> break
		fi
	od;
	/* [[daemon/data/workers.c:workers_join: if (atomic_load(&ws->worker[i].ended))]]
	 * [[daemon/data/workers.c:workers_join: pthread_join(ws->worker[i].thread, NULL)]]
	 * [[daemon/data/workers.c:workers_join: stuck++ == 0]] */
	all = true;
	do
	:: w < n_started && ended[w] ->
		dead[w];
		w++
	:: w < n_started && !ended[w] ->
		all = false;
		w++
	:: w == n_started -> break
	od;
	if
	:: !all /* _exit(): a stuck worker runs until then */
	:: else ->
		/* [[daemon/data/worker_loop.c:worker_loop_free: snapshot_unref(atomic_exchange(&w->next_snapshot, NULL))]]
		 * [[daemon/data/worker_loop.c:worker_loop_free: snapshot_unref(w->snapshot)]] */
		for (w : 0 .. N - 1) {
			d_step {
				replaced = next[w];
				next[w] = NONE
			}
			unref_untaken(replaced, w, before);
			d_step {
				replaced = used[w];
				used[w] = NONE
			}
			unref(replaced)
		}
		w = 0; /* spin: a d_step must not follow a loop */
		/* [[daemon/control/daemon.c:free_all: workers_release_snapshots(d->workers)]]
		 * [[daemon/control/daemon.c:free_all: snapshot_unref(d->current)]]
		 * [[daemon/control/daemon.c:finish: _exit(d->exit_code)]] */
		d_step {
			replaced = current;
			current = NONE
		}
		unref(replaced);
		for (w : 0 .. made - 1) {
			assert(freed[w]) /* no snapshot leaks */
		}
	fi;
	exited = true
}

/* Each reload, drain and stop ends; no SIGHUP is lost. */
ltl reloads_end { [] (state == RELOADING -> <> (state != RELOADING)) }
ltl drains_end { [] ((state == DRAINING || state == LAME_DUCK) -> <> exited) }
ltl stops_end { [] (state == STOPPED -> <> exited) }
ltl no_sighup_is_lost { [] (wanted -> <> !wanted) }

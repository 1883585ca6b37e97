/* SPDX-License-Identifier: MIT */

/* A ring of pieces between one thread that reads and writes and several that compute. The ring has two pieces
 * a worker: memory is bounded, and nobody waits for the slowest piece longer than its neighbours take. The
 * only file that knows threads. */

#include "publish/lanes.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>

typedef enum PieceState { PIECE_FREE, PIECE_READY, PIECE_BUSY, PIECE_DONE } PieceState;

typedef struct Lanes {
        const LaneOps *ops;
        void *ctx;
        LanePiece *pieces;
        PieceState *states;
        size_t n_pieces;
        uint64_t filled, taken, drained; /* how many pieces passed each station */
        bool stop;
        int error;
        pthread_mutex_t lock;
        pthread_cond_t ready, done;
        pthread_t threads[LANES_MAX];
        unsigned n_threads;
} Lanes;

static unsigned clamp_workers(unsigned n)
{
        return n == 0 ? 1 : n > LANES_MAX ? LANES_MAX : n;
}

unsigned lanes_default(void)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return 1;
        return clamp_workers((unsigned) CPU_COUNT(&set));
}

static LanePiece *piece_at(Lanes *l, uint64_t number)
{
        return &l->pieces[number % l->n_pieces];
}

static PieceState *state_at(Lanes *l, uint64_t number)
{
        return &l->states[number % l->n_pieces];
}

/* The next piece that nobody works on yet; NULL when it is time to go home. Holds the lock. */
static LanePiece *take_piece(Lanes *l)
{
        while (!l->stop && l->taken == l->filled)
                (void) pthread_cond_wait(&l->ready, &l->lock);
        if (l->stop)
                return NULL;
        *state_at(l, l->taken) = PIECE_BUSY;
        return piece_at(l, l->taken++);
}

static void *worker_main(void *arg)
{
        Lanes *l = arg;
        void *worker = l->ops->worker_new ? l->ops->worker_new(l->ctx) : NULL;
        int r = l->ops->worker_new && !worker ? -ENOMEM : 0;

        (void) pthread_mutex_lock(&l->lock);
        while (r >= 0) {
                LanePiece *piece = take_piece(l);

                if (!piece)
                        break;
                (void) pthread_mutex_unlock(&l->lock);
                r = l->ops->work(l->ctx, worker, piece);
                (void) pthread_mutex_lock(&l->lock);
                *state_at(l, piece->number) = PIECE_DONE;
                (void) pthread_cond_signal(&l->done);
        }
        if (r < 0) {
                l->error = r;
                l->stop = true;
                (void) pthread_cond_broadcast(&l->ready);
                (void) pthread_cond_signal(&l->done);
        }
        (void) pthread_mutex_unlock(&l->lock);
        if (l->ops->worker_free)
                (void) l->ops->worker_free(worker);
        return NULL;
}

/* Fills as many free pieces as there are. 1 more to come, 0 that was the end. */
static int fill_pieces(Lanes *l, Why *why)
{
        while (l->filled - l->drained < l->n_pieces) {
                LanePiece *piece = piece_at(l, l->filled);
                int r;

                assert(*state_at(l, l->filled) == PIECE_FREE);
                piece->number = l->filled;
                piece->in_size = piece->out_size = 0;
                piece->zero = false;
                r = l->ops->fill(l->ctx, piece, why);
                if (r <= 0)
                        return r;
                (void) pthread_mutex_lock(&l->lock);
                *state_at(l, l->filled) = PIECE_READY;
                l->filled++;
                (void) pthread_cond_signal(&l->ready);
                (void) pthread_mutex_unlock(&l->lock);
        }
        return 1;
}

static int drain_piece(Lanes *l, Why *why)
{
        int r;

        (void) pthread_mutex_lock(&l->lock);
        while (!l->stop && *state_at(l, l->drained) != PIECE_DONE)
                (void) pthread_cond_wait(&l->done, &l->lock);
        r = l->error;
        (void) pthread_mutex_unlock(&l->lock);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "worker thread");
        r = l->ops->drain(l->ctx, piece_at(l, l->drained), why);
        *state_at(l, l->drained) = PIECE_FREE;
        l->drained++;
        return r;
}

static int run_stream(Lanes *l, Why *why)
{
        int more = 1;

        for (;;) {
                if (more > 0 && (more = fill_pieces(l, why)) < 0)
                        return more;
                if (l->drained == l->filled)
                        return 0;
                int r = drain_piece(l, why);
                if (r < 0)
                        return r;
        }
}

static int make_pieces(Lanes *l, unsigned workers)
{
        l->n_pieces = (size_t) workers * 2;
        l->pieces = calloc(l->n_pieces, sizeof(*l->pieces));
        l->states = calloc(l->n_pieces, sizeof(*l->states));
        if (!l->pieces || !l->states)
                return -ENOMEM;
        for (size_t i = 0; i < l->n_pieces; i++) {
                l->pieces[i].in = malloc(l->ops->in_max);
                l->pieces[i].out = malloc(l->ops->out_max);
                if (!l->pieces[i].in || !l->pieces[i].out)
                        return -ENOMEM;
        }
        return 0;
}

static void lanes_done(Lanes *l)
{
        (void) pthread_mutex_lock(&l->lock);
        l->stop = true;
        (void) pthread_cond_broadcast(&l->ready);
        (void) pthread_mutex_unlock(&l->lock);
        for (unsigned i = 0; i < l->n_threads; i++)
                (void) pthread_join(l->threads[i], NULL);
        for (size_t i = 0; l->pieces && i < l->n_pieces; i++) {
                free(l->pieces[i].in);
                free(l->pieces[i].out);
        }
        free(l->pieces);
        free(l->states);
        (void) pthread_cond_destroy(&l->ready);
        (void) pthread_cond_destroy(&l->done);
        (void) pthread_mutex_destroy(&l->lock);
}

int lanes_run(const LaneOps *ops, void *ctx, unsigned workers, Why *why)
{
        _cleanup_(lanes_done) Lanes l = { .ops = ops, .ctx = ctx };
        int r;

        workers = clamp_workers(workers ?: lanes_default());
        (void) pthread_mutex_init(&l.lock, NULL);
        (void) pthread_cond_init(&l.ready, NULL);
        (void) pthread_cond_init(&l.done, NULL);
        r = make_pieces(&l, workers);
        while (r >= 0 && l.n_threads < workers) {
                r = -pthread_create(&l.threads[l.n_threads], NULL, worker_main, &l);
                if (r >= 0)
                        l.n_threads++;
        }
        if (r < 0 && l.n_threads == 0)
                return fail_errno(why, r, WHY_HOST, "starting %u worker threads", workers);
        return run_stream(&l, why);
}

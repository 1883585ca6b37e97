/* SPDX-License-Identifier: MIT */

#include "fetch/hasher.h"
#include "base/digest.h"

#include <errno.h>
#include <pthread.h>

#define RING       (512u * 1024u)
#define PIECE      (64u * 1024u)        /* hashed at once, so that room comes back soon */
#define EXPECT_MIN (4u * 1024u * 1024u) /* below, a thread takes longer to start than to work */

struct Hasher {
        Digest *digest;
        uint8_t *ring; /* NULL: no thread */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t news;
        /* under the lock; [out, in) of the ring is the thread's, the rest the feeder's */
        uint64_t in, out;
        unsigned n_waiting;
        bool stop;
        int error;
};

static void *hash_all(void *ctx)
{
        Hasher *h = ctx;

        (void) pthread_mutex_lock(&h->lock);
        for (;;) {
                size_t at = (size_t) (h->out % RING), n = (size_t) MIN(h->in - h->out, (uint64_t) PIECE);
                int r;

                n = MIN(n, RING - at);
                if (n == 0) {
                        if (h->stop)
                                break;
                        h->n_waiting++;
                        (void) pthread_cond_wait(&h->news, &h->lock);
                        h->n_waiting--;
                        continue;
                }
                (void) pthread_mutex_unlock(&h->lock);
                r = digest_update(h->digest, h->ring + at, n);
                (void) pthread_mutex_lock(&h->lock);
                h->out += n;
                h->error = MIN(h->error, r);
                if (h->n_waiting > 0)
                        (void) pthread_cond_broadcast(&h->news);
        }
        (void) pthread_mutex_unlock(&h->lock);
        return NULL;
}

static void end_thread(Hasher *h)
{
        if (!h->ring)
                return;
        (void) pthread_mutex_lock(&h->lock);
        h->stop = true;
        (void) pthread_cond_broadcast(&h->news);
        (void) pthread_mutex_unlock(&h->lock);
        (void) pthread_join(h->thread, NULL);
        (void) pthread_cond_destroy(&h->news);
        (void) pthread_mutex_destroy(&h->lock);
        free(h->ring);
        h->ring = NULL;
}

Hasher *hasher_free(Hasher *h)
{
        if (!h)
                return NULL;
        end_thread(h);
        digest_free(h->digest);
        free(h);
        return NULL;
}

static void start_thread(Hasher *h)
{
        h->ring = malloc(RING);
        if (!h->ring)
                return;
        (void) pthread_mutex_init(&h->lock, NULL); /* on Linux these two cannot fail */
        (void) pthread_cond_init(&h->news, NULL);
        if (pthread_create(&h->thread, NULL, hash_all, h) == 0)
                return;
        (void) pthread_cond_destroy(&h->news);
        (void) pthread_mutex_destroy(&h->lock);
        free(h->ring);
        h->ring = NULL;
}

int hasher_new(unsigned bits, uint64_t expect, Hasher **ret)
{
        Hasher *h = calloc(1, sizeof(*h));

        if (!h || digest_new(bits, &h->digest) < 0) {
                free(h);
                return -ENOMEM;
        }
        if (expect >= EXPECT_MIN)
                start_thread(h);
        *ret = h;
        return 0;
}

int hasher_update(Hasher *h, const void *data, size_t size)
{
        const uint8_t *p = data;
        int r = 0;

        if (!h->ring)
                return digest_update(h->digest, data, size);
        (void) pthread_mutex_lock(&h->lock);
        while (size > 0 && (r = h->error) >= 0) {
                size_t at = (size_t) (h->in % RING), n = MIN(size, (size_t) (RING - (h->in - h->out)));

                n = MIN(n, RING - at);
                if (n == 0) {
                        h->n_waiting++;
                        (void) pthread_cond_wait(&h->news, &h->lock);
                        h->n_waiting--;
                        continue;
                }
                (void) pthread_mutex_unlock(&h->lock);
                memcpy(h->ring + at, p, n);
                (void) pthread_mutex_lock(&h->lock);
                h->in += n;
                p += n;
                size -= n;
                if (h->n_waiting > 0)
                        (void) pthread_cond_broadcast(&h->news);
        }
        (void) pthread_mutex_unlock(&h->lock);
        return r;
}

int hasher_final(Hasher *h, uint8_t *out)
{
        end_thread(h);
        return h->error < 0 ? h->error : digest_final(h->digest, out);
}

/* SPDX-License-Identifier: MIT */
#pragma once

/* For this room alone: one request and its whole answer, of which nothing is believed. What the requests are is fetch.c's
 * business. */

#include "fetch/fetch.h"
#include "fetch/spawn.h"
#include "fetch/wire.h"

struct Fetch {
        const Env *env;
        Spawn spawn;
        WireRecord record;
        uint64_t bytes;
        FetchTick tick;
        void *tick_ctx;
        uint64_t last_tick_ms, last_record_ms;
        bool silent; /* for too long */
        bool broken;
};

/* A client over any socket, with no process at the other end: for tests. Takes sock; env is borrowed. */
int fetch_adopt(const Env *env, int sock, Fetch **ret);

/* What one answer may hold: at most max bytes of DATA and ZERO, to this sink. */
typedef struct Answer {
        const FetchSink *sink; /* NULL: none at all */
        uint64_t max, got;
        bool blocks; /* multiples of 4096 bytes, but for the end at max */
} Answer;

/* Sends a request and reads until DONE, whose values *ret_done then points to. p is emptied. */
int client_ask(Fetch *f, WireType type, WirePack *p, const int *fds, size_t n_fds, Answer *a,
               WireUnpack *ret_done, Why *why);
/* An unlinked file on the disk, for the child to write. */
int client_scratch(const Env *env, Why *why);
/* DONE has no more values than were taken out. */
int client_expect_end(Fetch *f, WireUnpack *done, Why *why);
/* The other side did what it must not: the conversation is over. Always negative. */
int client_misbehaved(Fetch *f, Why *why, const char *how);

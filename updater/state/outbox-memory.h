/* SPDX-License-Identifier: MIT */
#pragma once

/* For outbox*.c alone: outbox/state.json, and what both files need. */

#include "state/document.h"

#define OUTBOX_NUMBER_MAX 99999999u

typedef struct OutboxMemory {
        unsigned failures;
        uint64_t not_before, last_delivered;
        uint64_t last_number; /* the highest one that was answered */
        char *message;
        Json *unknown;
} OutboxMemory;

/* "outbox", relative to STATE_DIR */
const char *outbox_dir(OutboxBox box);

void outbox_memory_done(OutboxMemory *m);
int outbox_memory_load(const Env *env, OutboxBox box, OutboxMemory *ret, Why *why);
int outbox_memory_save(const Env *env, OutboxBox box, const OutboxMemory *m, Why *why);

/* The numbers of a folder's entries, ascending. */
int outbox_list_numbers(int dir_fd, const char *path, uint64_t **ret, size_t *ret_n);
void outbox_numbers_freep(uint64_t **p);
void outbox_make_ascii(char *out, size_t size, const char *text);
int outbox_trouble(OutboxBox box, int r, Why *why);

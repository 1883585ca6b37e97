/* SPDX-License-Identifier: MIT */
#pragma once

/* OSTree's static deltas: the list of parts, and the small machine that makes objects out of a part and of older objects. Reads
 * bytes and descriptors it is given; knows no server. Every object is judged by its own name (rebuilt.h); a part that lies makes
 * fewer objects, never others.
 *
 * Why not libostree: it would have to write a repository (files, links, renames), start threads and use 100 MB of libraries in the
 * one process that reads hostile bytes and may write nothing but a descriptor it was handed. */

#include "fetch/rebuilt.h"

#define DELTA_SUPERBLOCK_MAX (8u * 1024u * 1024u) /* 33 bytes an object: some 200,000 of them */
#define DELTA_PARTS_MAX      4096u
#define DELTA_PART_MAX       (512u * MIB) /* unpacked: the binary diff of a large file is as long as that file */

typedef struct DeltaPart {
        uint8_t sum[OSTREE_ID]; /* of the file */
        uint64_t size, unpacked;
        const uint8_t *objects; /* a type and a name each */
        size_t n_objects;
} DeltaPart;

#define DELTA_OBJECT 33u

typedef struct Delta {
        Bytes superblock;
        DeltaPart *parts;
        size_t n_parts;
        uint8_t (*loose)[OSTREE_ID]; /* file objects that were left out: they are fetched one by one */
        size_t n_loose;
} Delta;

void delta_done(Delta *d);
/* takes superblock on success. From and to must be those asked for. */
int delta_parse(Bytes *superblock, const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID], Delta *ret,
                Why *why);

typedef enum DeltaWant {
        DELTA_WANT_SOURCE,  /* an old object's content: delta_run_give() */
        DELTA_WANT_NOTHING, /* the part is done */
} DeltaWant;

typedef struct DeltaRun DeltaRun;

/* data: the unpacked part; borrowed as long as the run lives, like part and rebuilt. */
int delta_run_new(const DeltaPart *part, const void *data, size_t size, Rebuilt *rebuilt, DeltaRun **ret,
                  Why *why);
DeltaRun *delta_run_free(DeltaRun *run);
void delta_run_freep(DeltaRun **run);
/* Until it wants something. *ret_id: the name of the object that is needed. */
int delta_run(DeltaRun *run, DeltaWant *ret_want, const uint8_t **ret_id, Why *why);
/* takes fd; -1: there is no such object here, what is made of it is left out. */
void delta_run_give(DeltaRun *run, int fd);

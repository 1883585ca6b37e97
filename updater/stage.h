/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of the staging step share: an opened image, what of it was believed, and what will be written. update-image.c
 * opens and checks the COSI, update-esp.c the boot files in it, update-stage.c writes. */

#include "update.h"
#include "base/digest.h"
#include "slot/plan.h"

/* One file of the image's ESP that the release lists. */
typedef struct StageFile {
        size_t at; /* index in esp */
        BootKind kind;
        char sha256[SHA256_HEX];
        bool is_pe;
        PeSummary pe;
} StageFile;

typedef struct StageDelta StageDelta;
typedef struct StageRebuilt StageRebuilt;

typedef struct Stage {
        Update *u;
        WhyKind kind; /* what a contradiction is called */
        SlotId target;
        const SlotParts *parts;
        bool resumes; /* a stage of this very image was interrupted */
        FetchCosi container;
        Cosi cosi;
        Bytes signature; /* HASH-SIG payload, empty when the image has none */
        FetchEsp esp;
        StageFile *files;
        size_t n_files;
        BootPlan plan;
        VerityParams verity;
        bool hash_image_read;
        /* Blocks that somebody has made without downloading them (a static delta); borrowed, set before anything is planned. */
        const BlockSource *rebuilt;
        size_t n_rebuilt;         /* at most BLOCK_SOURCES_MAX less the two slots */
        StageRebuilt *rebuilding; /* whose they are */
        StageDelta *delta;
        SlotWriter *writer;
        uint64_t read_back; /* behind the writer, before its end */
        bool sealed;        /* all of the slot was read back, and its root is the promised one */
} Stage;

void stage_done(Stage *s);
void stage_show(Stage *s, const char *what, uint64_t done, uint64_t total);

/* update-image.c: no byte of the host changes */
int stage_open_image(Stage *s, Why *why);  /* container, metadata, agreement with the release, GPT region */
int stage_find_verity(Stage *s, Why *why); /* salt, UUID and size of the tree */
/* Reads the image's own hash tree to its end: its digest is checked that way. The tree on the disk is our own. Once. */
int stage_check_hash_image(Stage *s, Why *why);

/* update-esp.c: nor here */
int stage_read_esp(Stage *s, Why *why); /* every file against the signed list, UKI and addons taken apart */
int stage_check_chain(Stage *s, Why *why);
int stage_plan_boot(Stage *s, Why *why);
const StageFile *stage_uki(const Stage *s);

/* update-esp-parts.c: files of the image's ESP that this host has */
int stage_find_esp(const Stage *s, const char *path,
                   size_t *ret); /* 1 and its place in esp, 0 there is none */
/* 1 s->esp is open, and most of it need not be fetched; 0 it has to come as a whole */
int stage_open_esp_parts(Stage *s, Why *why);
/* After a failure in parts: 0 where reading all of it will help, or will say what is wrong; else the failure. */
int stage_esp_as_whole(Stage *s, int r, const Why *because, Why *why);
/* What stage_read_esp() would download, without doing it. */
int stage_esp_cost(Stage *s, uint64_t *ret, Why *why);

/* update-ostree.c: blocks made out of an OSTree repository, for the plan. Negative only where the update must stop. */
int stage_rebuild(Stage *s, Why *why);
StageRebuilt *stage_rebuilt_free(StageRebuilt *b);

/* update-delta.c: only what is missing. 1 there is a plan (s->delta) in which nothing was written yet, 0 this image or this
 * server does not allow for one. */
int stage_delta_plan_blocks(Stage *s, Why *why);
/* By the plan. 1 the slot is sealed, 0 it has to be streamed after all. */
int stage_delta_assemble(Stage *s, Why *why);
StageDelta *stage_delta_free(StageDelta *d);
/* What will be asked for: parts of the COSI's file, in order; a frame that two requests share counts once. */
int stage_delta_extents(Stage *s, void (*each)(void *ctx, uint64_t offset, uint64_t size), void *ctx,
                        Why *why);
const SlotPlan *stage_delta_plan(const StageDelta *d);
const SlotCount *stage_delta_count(const StageDelta *d); /* NULL: nothing was written yet */
/* What it would cost (gybe.plan/1): by s->delta, or as a whole. */
int stage_plan_json(Stage *s, Json **ret, Why *why);

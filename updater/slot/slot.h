/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the bytes go: which partitions make slot A and slot B, which of them runs, and writing an image into the spare
 * one so that what is read back from the disk has the root hash that was promised. Knows disks and verity; knows nothing
 * of releases, boot loaders or where bytes come from. */

#include "disk/disk.h"
#include "image/verity.h"

typedef enum SlotId {
        SLOT_A,
        SLOT_B,
        _SLOT_MAX,
        _SLOT_INVALID = -22,
} SlotId;

const char *slot_name(SlotId slot); /* "a", "b" */
SlotId slot_from_name(const char *name);
static inline SlotId slot_other(SlotId slot)
{
        return slot == SLOT_A ? SLOT_B : SLOT_A;
}

typedef enum SlotLayoutKind {
        SLOT_LAYOUT_ACL,
        SLOT_LAYOUT_FLATCAR,
        SLOT_LAYOUT_CUSTOM,
} SlotLayoutKind;

/* disk.layout of the configuration. For custom: each selector has a label or a PARTUUID (NULL: not given). */
typedef struct SlotSelector {
        char *label, *partuuid;
} SlotSelector;

typedef struct SlotConfig {
        SlotLayoutKind kind;
        struct {
                SlotSelector data, hash, sig;
        } custom[_SLOT_MAX];
} SlotConfig;

void slot_config_done(SlotConfig *config);

/* Where the two slots are. Pointers borrow from the disk. hash NULL: the tree is inline behind the data (G1), and
 * inline_offset says where its superblock is; 0, as slot_layout() leaves it: it is looked for (the writer knows). */
typedef struct SlotParts {
        const Partition *data, *hash, *sig;
        uint64_t inline_offset;
} SlotParts;

typedef struct SlotLayout {
        const char *
                generation; /* "G1 inline", "G2 separate hash", "G3 signed-capable", "custom" ... for status */
        SlotParts slot[_SLOT_MAX];
} SlotLayout;

/* Recognises by label + type + PARTUUID; numbers mean nothing. */
int slot_layout(const Disk *disk, const SlotConfig *config, SlotLayout *ret, Why *why);

/* What the running system says about itself, from three witnesses: kernel command line, device-mapper, /run/acl. */
typedef struct SlotRunning {
        bool known;
        SlotId slot;
        char roothash[65]; /* lower case; "" when the command line has none */
        char data_partuuid[37];
        bool defaulted; /* /run/acl said it had guessed: not believed */
} SlotRunning;

/* The witnesses that speak must agree; a disagreement, or nobody speaking, leaves known=false and a sentence in *why, and
 * returns 0: status still wants to be drawn. Callers that are going to write must check known. layout may be NULL when the
 * disk is not known yet: then data_partuuid is filled and slot only where the layout is not needed. */
int slot_running(const Env *env, const SlotLayout *layout, SlotRunning *ret, Why *why);

/* Everything that speaks against writing into this slot, before a byte is fetched: running, mounted, mapped, too small. */
typedef struct SlotNeed {
        uint64_t data_size, hash_size,
                sig_size; /* bytes of the images; hash_size without inline still counts */
        bool inline_hash;
} SlotNeed;

int slot_check_spare(const Disk *disk, const SlotLayout *layout, const SlotRunning *running, SlotId target,
                     const SlotNeed *need, Why *why);

/* Bytes of the data image, for progress and history. */
typedef struct SlotCount {
        uint64_t skipped; /* already in place: read, equal, not written */
        uint64_t written;
        uint64_t copied, rebuilt,
                fetched;       /* of written: from a slot, from a rebuilt file, from a server, where
                                              that was planned (assemble.h) */
        uint64_t zero;         /* of both: blocks of zeroes that nobody had to fetch */
        uint64_t read_back;    /* from the medium, so far */
        uint64_t tree_written; /* of the hash tree and its superblock, counted apart: nobody fetches them */
} SlotCount;

typedef int (*SlotProgress)(void *ctx, uint64_t done, uint64_t total); /* in bytes; negative stops */

/* The writer takes the data image in order, in pieces of any size, and never writes beyond it. Blocks that are in place are not
 * written, as far as that is worth looking (writer.c). Behind it everything is read back and hashed; the tree goes to the HASH
 * partition. Behind the data (inline) the leaves are those of what goes to the disk. */
typedef struct SlotWriter SlotWriter;

int slot_writer_open(Disk *disk, const SlotParts *parts, const VerityParams *verity, SlotWriter **ret,
                     Why *why);
SlotWriter *slot_writer_free(SlotWriter *w);
void slot_writer_freep(SlotWriter **w);
int slot_writer_put(SlotWriter *w, const void *data, size_t size, Why *why);
int slot_writer_zero(SlotWriter *w, uint64_t size, Why *why);
/* Of what is still to be read back when slot_writer_finish() is called. */
void slot_writer_set_progress(SlotWriter *w, SlotProgress progress, void *ctx);
/* Flushes the last unit, writes tree and superblock, makes all durable, and says the root: 1 of what was read back, and the
 * stored tree was read back, too; 0 of what was written, or it is not expect_root (NULL: any): then there is no superblock, and a
 * slot in which anything was changed is nobody's. -EIO (WHY_HOST): it is not expect_root because the medium gives back something
 * else than was written. */
int slot_writer_finish(SlotWriter *w, const uint8_t *expect_root, uint8_t ret_root[32], Why *why);
const SlotCount *slot_writer_count(const SlotWriter *w);

/* HASH-SIG: the whole partition becomes data followed by zeroes (size 0: all zeroes). Equal blocks are not written. */
int slot_write_sig(Disk *disk, const SlotParts *parts, const uint8_t *data, size_t size, Why *why);
/* SHA-256 of the partition when it holds that. The slot must have one. */
int slot_sig_digest(const SlotParts *parts, const uint8_t *data, size_t size, char ret[65]);
/* Read back: -EBADMSG (WHY_TRUST) when the partition has another digest. */
int slot_check_sig(Disk *disk, const SlotParts *parts, const char *sha256, Why *why);

/* Reads data and tree back from the medium, recomputes every level, compares each stored hash block and the superblock,
 * and says the root. 0 equal to expect_root; -EBADMSG with a sentence when anything differs (kind WHY_TRUST). progress may
 * be NULL. Used after staging, before finalize, before rollback, and by recovery. */
int slot_verify(Disk *disk, const SlotParts *parts, const uint8_t expect_root[32], SlotProgress progress,
                void *ctx, Why *why);
/* The verity superblock now in the slot (HASH partition, or inline at data_size when that is not 0). -ENOENT when there
 * is none. */
int slot_superblock(Disk *disk, const SlotParts *parts, uint64_t inline_offset, VerityParams *ret, Why *why);

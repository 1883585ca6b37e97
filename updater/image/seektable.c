/* SPDX-License-Identifier: MIT */

/* 5E 2A 4D 18 | size of the rest | entries: compressed, raw[, checksum] | number of entries | descriptor | B1
 * EA 92 8F All little endian. Descriptor: bit 7 checksums; bits 6-2 reserved and zero here, since a table
 * with a bit that we do not know may mean something else; bits 1-0 unused. */

#include "image/seektable.h"

#include <errno.h>
#include <inttypes.h>

#define SKIPPABLE_MAGIC 0x184d2a5eu
#define SEEKABLE_MAGIC  0x8f92eab1u
#define FLAG_CHECKSUMS  0x80u
#define FLAGS_RESERVED  0x7cu

static void put32(uint8_t *p, uint32_t v)
{
        for (unsigned i = 0; i < 4; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static size_t entry_size(bool checksums)
{
        return checksums ? 12 : 8;
}

void seektable_done(SeekTable *t)
{
        free(t->entries);
        *t = (SeekTable){ 0 };
}

int seektable_add(SeekTable *t, uint32_t compressed, uint32_t raw, uint32_t checksum)
{
        if (t->n_entries >= SEEKTABLE_FRAMES_MAX)
                return -EFBIG;
        /* room grows by doubling: at every power of two */
        if ((t->n_entries & (t->n_entries - 1)) == 0) {
                size_t room = t->n_entries ? (size_t) t->n_entries * 2 : 1;
                SeekEntry *more = reallocarray(t->entries, room, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                t->entries = more;
        }
        t->entries[t->n_entries++] = (SeekEntry){ compressed, raw, checksum };
        t->compressed += compressed;
        t->raw += raw;
        return 0;
}

int seektable_format(const SeekTable *t, Bytes *ret)
{
        size_t each = entry_size(t->checksums),
               size = SEEKTABLE_HEADER + t->n_entries * each + SEEKTABLE_FOOTER;
        uint8_t *data = malloc(size + 1), *p = data;

        if (!data)
                return -ENOMEM;
        put32(p, SKIPPABLE_MAGIC);
        put32(p + 4, (uint32_t) (size - SEEKTABLE_HEADER));
        p += SEEKTABLE_HEADER;
        for (uint32_t i = 0; i < t->n_entries; i++, p += each) {
                put32(p, t->entries[i].compressed);
                put32(p + 4, t->entries[i].raw);
                if (t->checksums)
                        put32(p + 8, t->entries[i].checksum);
        }
        put32(p, t->n_entries);
        p[4] = t->checksums ? FLAG_CHECKSUMS : 0;
        put32(p + 5, SEEKABLE_MAGIC);
        data[size] = 0;
        *ret = (Bytes){ data, size };
        return 0;
}

int seektable_footer(const uint8_t footer[SEEKTABLE_FOOTER], uint64_t *ret_size)
{
        uint32_t n = get32(footer);

        if (get32(footer + 5) != SEEKABLE_MAGIC || (footer[4] & FLAGS_RESERVED) != 0 ||
            n > SEEKTABLE_FRAMES_MAX)
                return 0;
        *ret_size =
                SEEKTABLE_HEADER + n * (uint64_t) entry_size(footer[4] & FLAG_CHECKSUMS) + SEEKTABLE_FOOTER;
        return 1;
}

static int refuse(Why *why, const char *problem)
{
        return fail(why, -EBADMSG, WHY_IMAGE, "seek-table", "seek table: %s", problem);
}

int seektable_parse(const uint8_t *frame, size_t size, uint64_t file_size, SeekTable *ret, Why *why)
{
        _cleanup_(seektable_done) SeekTable t = { 0 };
        const uint8_t *footer;
        uint64_t expect = 0;
        uint32_t n;
        int r;

        if (size < SEEKTABLE_HEADER + SEEKTABLE_FOOTER)
                return refuse(why, "shorter than its header and footer");
        footer = frame + size - SEEKTABLE_FOOTER;
        if (seektable_footer(footer, &expect) == 0)
                return refuse(why, "the footer has another magic, a reserved bit or too many frames");
        if (expect != size || get32(frame) != SKIPPABLE_MAGIC || get32(frame + 4) != size - SEEKTABLE_HEADER)
                return refuse(why, "the skippable frame around it does not fit the number of frames");
        t.checksums = footer[4] & FLAG_CHECKSUMS;
        n = get32(footer);
        for (uint32_t i = 0; i < n; i++) {
                const uint8_t *p = frame + SEEKTABLE_HEADER + i * entry_size(t.checksums);

                if (get32(p) == 0 || get32(p + 4) > SEEKTABLE_FRAME_MAX)
                        return refuse(why, "a frame of no compressed bytes or of more than 1 GiB");
                r = seektable_add(&t, get32(p), get32(p + 4), t.checksums ? get32(p + 8) : 0);
                if (r < 0)
                        return r;
        }
        if (t.compressed + size != file_size)
                return fail(why, -EBADMSG, WHY_IMAGE, "seek-table",
                            "seek table: its frames have %" PRIu64 " bytes, the file has %" PRIu64
                            " before it",
                            t.compressed, file_size - size);
        *ret = t;
        t = (SeekTable){ 0 };
        return 0;
}

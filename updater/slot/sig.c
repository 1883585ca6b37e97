/* SPDX-License-Identifier: MIT */

/* HASH-SIG holds the root hash's signature as the image brought it, padded with zeroes. What is in it is for the kernel
 * and the initrd to judge; here it is bytes. */

#include "base/digest.h"
#include "base/str.h"
#include "slot/tree.h"

#include <errno.h>
#include <inttypes.h>

int slot_write_sig(Disk *disk, const SlotParts *parts, const uint8_t *data, size_t size, Why *why)
{
        _cleanup_(area_freep) Area *area = NULL;
        _cleanup_(free_bufferp) uint8_t *want = area_buffer(SLOT_UNIT), *scratch = area_buffer(SLOT_UNIT);
        uint64_t total = 0;
        int r;

        if (!parts->sig && size == 0)
                return 0;
        if (!parts->sig)
                return fail(why, -EMEDIUMTYPE, WHY_HOST, "layout",
                            "%s: has no HASH-SIG partition for a signature of %zu bytes", disk_path(disk),
                            size);
        if (!want || !scratch)
                return -ENOMEM;
        r = area_open(disk, parts->sig, true, &area, why);
        if (r < 0)
                return r;
        if (size > area_size(area))
                return fail(why, -ENOSPC, WHY_HOST, "too-big",
                            "%s: the signature has %zu bytes, the partition %" PRIu64, parts->sig->label,
                            size, area_size(area));
        for (uint64_t at = 0; at < area_size(area); at += SLOT_UNIT) {
                size_t n = (size_t) MIN((uint64_t) SLOT_UNIT, area_size(area) - at);
                size_t have = at < size ? (size_t) MIN((uint64_t) n, size - at) : 0;
                uint64_t written = 0;

                if (have > 0)
                        memcpy(want, data + at, have);
                memset(want + have, 0, n - have);
                r = patch_area(area, at, want, scratch, n, NULL, NULL, &written, why);
                if (r < 0)
                        return r;
                total += written;
        }
        return total > 0 ? area_sync(area, why) : 0;
}

static int final_hex(Digest *d, char ret[SHA256_HEX])
{
        uint8_t hash[SHA256_SIZE];
        int r = digest_final(d, hash);

        if (r >= 0)
                hex_encode(hash, sizeof(hash), ret);
        return r;
}

int slot_sig_digest(const SlotParts *parts, const uint8_t *data, size_t size, char ret[SHA256_HEX])
{
        static const uint8_t zero[4096];
        _cleanup_(digest_freep) Digest *d = NULL;
        uint64_t whole = parts->sig->size / AREA_ALIGN * AREA_ALIGN; /* as an Area of it has */
        uint64_t rest = whole - MIN((uint64_t) size, whole);
        int r = digest_new(256, &d);

        if (r >= 0 && size > 0)
                r = digest_update(d, data, size);
        for (; r >= 0 && rest > 0; rest -= MIN(rest, (uint64_t) sizeof(zero)))
                r = digest_update(d, zero, (size_t) MIN(rest, (uint64_t) sizeof(zero)));
        return r < 0 ? r : final_hex(d, ret);
}

int slot_check_sig(Disk *disk, const SlotParts *parts, const char *sha256, Why *why)
{
        _cleanup_(area_freep) Area *area = NULL;
        _cleanup_(free_bufferp) uint8_t *unit = area_buffer(SLOT_UNIT);
        _cleanup_(digest_freep) Digest *d = NULL;
        char got[SHA256_HEX];
        int r = unit ? digest_new(256, &d) : -ENOMEM;

        if (r < 0 || (r = area_open(disk, parts->sig, false, &area, why)) < 0)
                return r;
        for (uint64_t at = 0; at < area_size(area); at += SLOT_UNIT) {
                size_t n = (size_t) MIN((uint64_t) SLOT_UNIT, area_size(area) - at);

                if ((r = area_read(area, at, unit, n, why)) < 0 || (r = digest_update(d, unit, n)) < 0)
                        return r;
        }
        r = final_hex(d, got);
        if (r < 0 || streq(got, sha256))
                return r;
        return fail(why, -EBADMSG, WHY_TRUST, "signature-partition",
                    "%s: it does not hold the signature that was written", parts->sig->label);
}

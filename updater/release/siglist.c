/* SPDX-License-Identifier: MIT */

/* EFI signature lists, as UEFI 2.10 section 32.4 lays them out. Pure; it does not know what a certificate is.
 *
 *   GUID kind (16) | u32 list size | u32 header size | u32 entry size | header | entries
 *   entry: GUID owner (16) | data
 *
 * A variable that does not parse to its end is not half believed: a dbx of which we missed a part would let something pass
 * that firmware refuses. */

#include "release/siglist.h"

#include <errno.h>

#define LIST_HEADER 28u
#define OWNER       16u
#define REVOKED_AT  16u         /* EFI_TIME behind a certificate's digest */
#define ENTRY_MAX   (64u * KIB) /* a certificate has 1-2 kB */

static const struct {
        uint8_t guid[16]; /* as stored: the first three groups little-endian */
        SigKind kind;
        size_t digest; /* 0: a certificate, any size */
        size_t tail;   /* bytes behind the digest */
} kinds[] = {
        { { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72 },
          SIG_X509,
          0,
          0 },
        { { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 },
          SIG_IMAGE_HASH,
          32,
          0 },
        { { 0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed },
          SIG_CERT_SHA256,
          32,
          REVOKED_AT },
        { { 0x6e, 0x87, 0x76, 0x70, 0xc2, 0x80, 0xe6, 0x4e, 0xaa, 0xd2, 0x28, 0xb3, 0x49, 0xa6, 0x86, 0x5b },
          SIG_CERT_SHA384,
          48,
          REVOKED_AT },
        { { 0x63, 0xbf, 0x6d, 0x44, 0x02, 0x25, 0xda, 0x4c, 0xbc, 0xfa, 0x24, 0x65, 0xd2, 0xb0, 0xfe, 0x9d },
          SIG_CERT_SHA512,
          64,
          REVOKED_AT },
};

static uint32_t le32(const uint8_t *p)
{
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static int malformed(Why *why, const char *what, size_t at, const char *reason)
{
        (void) fail(why, -EBADMSG, WHY_HOST, "secureboot-variable",
                    "%s: malformed signature list at byte %zu: %s", what, at, reason);
        return fail_hint(why, -EBADMSG,
                         "the firmware's Secure Boot variables cannot be understood; nothing was changed");
}

static int list_entries(const uint8_t *guid, const uint8_t *entries, size_t size, size_t entry_size,
                        int (*f)(void *ctx, const SigEntry *entry), void *ctx)
{
        for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                size_t data = entry_size - OWNER;

                if (memcmp(guid, kinds[k].guid, sizeof(kinds[k].guid)) != 0)
                        continue;
                if (kinds[k].digest > 0 && data != kinds[k].digest + kinds[k].tail)
                        return -EBADMSG;
                for (size_t at = 0; at < size; at += entry_size) {
                        SigEntry e = { kinds[k].kind, entries + at + OWNER, data - kinds[k].tail };
                        int r = f(ctx, &e);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int siglist_each(const void *data, size_t size, const char *what, int (*f)(void *ctx, const SigEntry *entry),
                 void *ctx, Why *why)
{
        const uint8_t *p = data;
        size_t at = 0;

        while (at < size) {
                size_t list, header, entry;
                int r;

                if (size - at < LIST_HEADER)
                        return malformed(why, what, at, "cut off");
                list = le32(p + at + 16);
                header = le32(p + at + 20);
                entry = le32(p + at + 24);
                if (list < LIST_HEADER || list > size - at)
                        return malformed(why, what, at, "the list is longer than the variable");
                if (header > list - LIST_HEADER)
                        return malformed(why, what, at, "the header is longer than the list");
                if (entry <= OWNER || entry > ENTRY_MAX || (list - LIST_HEADER - header) % entry != 0)
                        return malformed(why, what, at, "the list is not a number of whole entries");
                r = list_entries(p + at, p + at + LIST_HEADER + header, list - LIST_HEADER - header, entry, f,
                                 ctx);
                if (r == -EBADMSG)
                        return malformed(why, what, at, "entries of a wrong size");
                if (r < 0)
                        return r;
                at += list;
        }
        return 0;
}

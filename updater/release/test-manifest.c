/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "release/test-kit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define HEX32  "0123456789abcdef0123456789abcdef"
#define HASH   HEX32 HEX32
#define HASH2  "ff23456789abcdef0123456789abcdef" HEX32
#define SHA384 HASH HEX32
#define FILES                                                                                                \
        "{\"path\":\"EFI/Linux/vmlinuz-6.6.121.efi\",\"kind\":\"uki\",\"sha256\":\"" HASH "\"},"             \
        "{\"path\":\"acl/uki-addons/slot-a.addon.efi\",\"kind\":\"addon-template\",\"sha256\":\"" HASH "\"}"

/* The sizes are those of the example in the design. */
static const char good[] =
        "{\"schema\":\"gybe.release/"
        "1\",\"product\":\"azure-container-linux\",\"channel\":[\"stable\",\"beta\"],\"arch\":\"x86_64\","
        "\"version\":\"3.0.20261104\",\"serial\":2026110400,\"floorSerial\":2026090900,\"minimumSerial\":"
        "2026061500,"
        "\"issued\":\"2026-11-04T06:00:00Z\",\"expires\":\"2027-02-02T06:00:00Z\","
        "\"cosi\":{\"name\":\"acl-3.0.cosi\",\"size\":412345678,\"metadataSha384\":\"" SHA384 "\"},"
        "\"usr\":{\"roothash\":\"" HASH "\",\"dataSize\":356515840,\"hashSize\":2813952,\"salt\":\"AB01\","
        "\"uuid\":\"C8F2B3A0-0000-4000-8000-0123456789AB\",\"ostreeCommit\":\"" HASH "\"},"
        "\"boot\":[" FILES "],\"revokes\":{\"serials\":[2026102100],\"roothashes\":[\"" HASH2 "\"]},"
        "\"notes\":\"https://x\",\"critical\":[]}";

static int parse(const char *text, Release *ret, Why *why)
{
        return release_parse(text, strlen(text), "x.release.json", ret, why);
}

static void test_good(void)
{
        _cleanup_(release_done) Release r = { 0 }, moved = { 0 };
        Why why = { 0 };

        if (parse(good, &r, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        release_move(&moved, &r);
        assert(!r.product && streq(moved.product, "azure-container-linux") && strv_len(moved.channels) == 2);
        assert(moved.serial == 2026110400 && moved.floor_serial == 2026090900 &&
               moved.minimum_serial == 2026061500);
        assert(moved.issued == 1793772000 && moved.expires == 1801548000);
        assert(streq(moved.cosi.name, "acl-3.0.cosi") && moved.cosi.size == 412345678 &&
               streq(moved.cosi.metadata_sha384, SHA384));
        assert(streq(moved.usr.salt, "ab01") &&
               streq(moved.usr.uuid, "c8f2b3a0-0000-4000-8000-0123456789ab"));
        assert(moved.usr.data_size == 356515840 && moved.usr.hash_size == 2813952 &&
               streq(moved.usr.ostree_commit, HASH));
        assert(moved.n_boot == 2 && moved.boot[0].kind == BOOT_UKI &&
               moved.boot[1].kind == BOOT_ADDON_TEMPLATE);
        assert(moved.n_revoked_serials == 1 && moved.revoked_serials[0] == 2026102100 &&
               streq(moved.revoked_roothashes[0], HASH2));
}

/* One replacement in the good document each. */
static const struct {
        const char *from, *to;
        bool accepted;
        const char *says; /* the field that the sentence must name */
} cases[] = {
        { "gybe.release/1", "gybe.release/2", false, "gybe.release/2" },
        { "\"schema\":\"gybe.release/1\",", "", false, "schema" },
        { "azure-container-linux", "", false, "product" },
        { "\"azure-container-linux\"", "5", false, "product" },
        { "azure-container-linux", "a\\nb", false, "product" },
        { "[\"stable\",\"beta\"]", "[]", false, "channel" },
        { "[\"stable\",\"beta\"]", "\"stable\"", false, "channel" },
        { "[\"stable\",\"beta\"]", "[\"stable\",null]", false, "channel" },
        { "[\"stable\",\"beta\"]", "[\"stable\",7]", false, "channel" },
        { "x86_64", "aarch64", true, NULL },
        { "x86_64", "x86-64", false, "arch" },
        { "x86_64", "X86_64", false, "arch" },
        { "\"version\":\"3.0.20261104\"", "\"version\":3", false, "version" },
        { "\"version\":\"3.0.20261104\"", "\"version\":\"\"", false, "version" },
        /* serials */
        { "\"serial\":2026110400", "\"serial\":\"2026110400\"", false, "serial" },
        { "\"serial\":2026110400", "\"serial\":-1", false, "serial" },
        { "\"serial\":2026110400", "\"serial\":2026110400.0", false, "integer" },
        { "\"serial\":2026110400", "\"serial\":2e9", false, "integer" },
        { "\"serial\":2026110400", "\"serial\":18446744073709551615", true, NULL },
        { "\"serial\":2026110400", "\"serial\":18446744073709551616", false, "range" },
        { "\"serial\":2026110400", "\"serial\":2026090899", false, "floorSerial" }, /* below its own floor */
        { "\"serial\":2026110400", "\"serial\":2026090900", true, NULL },
        { "\"floorSerial\":2026090900,", "", false, "floorSerial" },
        { "\"minimumSerial\":2026061500,", "", true, NULL },
        { "\"minimumSerial\":2026061500", "\"minimumSerial\":null", true, NULL },
        { "\"minimumSerial\":2026061500", "\"minimumSerial\":\"x\"", false, "minimumSerial" },
        { "\"serial\":2026110400", "\"serial\":2026110400,\"serial\":1", false, "twice" },
        /* times */
        { "\"issued\":\"2026-11-04T06:00:00Z\",", "", false, "issued" },
        { "\"expires\":\"2027-02-02T06:00:00Z\",", "", false, "expires" },
        { "\"2027-02-02T06:00:00Z\"", "null", false, "expires" },
        { "\"2027-02-02T06:00:00Z\"", "1801548000", false, "expires" },
        { "2027-02-02T06", "2026-11-04T05", false, "expires" },
        { "2027-02-02T06:00:00Z", "2027-02-30T06:00:00Z", false, "expires" },
        { "2027-02-02T06:00:00Z", "2026-11-04T06:00:00Z", true, NULL },
        /* cosi */
        { "acl-3.0.cosi", "../acl-3.0.cosi", false, "cosi.name" },
        { "acl-3.0.cosi", "images/acl-3.0.cosi", true, NULL },
        { "acl-3.0.cosi", "/acl-3.0.cosi", false, "cosi.name" },
        { "acl-3.0.cosi", "a//b.cosi", false, "cosi.name" },
        { "acl-3.0.cosi", "a/./b.cosi", false, "cosi.name" },
        { "acl-3.0.cosi", "a\\\\b.cosi", false, "cosi.name" },
        { "acl-3.0.cosi", "https://evil/x.cosi", false, "cosi.name" },
        { "acl-3.0.cosi", "a/..", false, "cosi.name" },
        { "acl-3.0.cosi", "x/", false, "cosi.name" },
        { "412345678", "0", false, "cosi.size" },
        { "412345678", "9223372036854775808", false, "cosi.size" },
        { "\"size\":412345678,", "", false, "cosi.size" },
        { "\"metadataSha384\":\"0", "\"metadataSha384\":\"A", true, NULL },
        { "\"metadataSha384\":\"0", "\"metadataSha384\":\"", false, "metadataSha384" },
        { "\"metadataSha384\":\"0", "\"metadataSha384\":\"g", false, "metadataSha384" },
        { "\"cosi\":{", "\"casi\":{", false, "cosi" },
        /* usr */
        { "\"roothash\":\"" HASH "\",\"dataSize\"", "\"roothash\":\"" HEX32 "\",\"dataSize\"", false,
          "usr.roothash" },
        { "356515840", "356515841", false, "usr.dataSize" },
        { "356515840", "0", false, "usr.dataSize" },
        { "356515840", "18446744073709547520", false, "usr.dataSize" },
        { "2813952", "2818048", true, NULL },            /* with its superblock */
        { "2813952", "4194304", true, NULL },            /* and padding */
        { "2813952", "2809856", false, "usr.hashSize" }, /* a block of the tree is missing */
        { "2813952", "2813953", false, "usr.hashSize" },
        { "2813952", "0", false, "usr.hashSize" },
        { "2813952", "18446744073709547520", false, "usr.hashSize" },
        { "\"AB01\"", "\"\"", true, NULL },
        { "\"AB01\"", "\"AB0\"", false, "usr.salt" },
        { "\"AB01\"", "\"0xAB\"", false, "usr.salt" },
        { "\"AB01\"", "null", false, "usr.salt" },
        { ",\"salt\":\"AB01\"", "", false, "usr.salt" },
        { "\"AB01\"", "\"" HASH HASH HASH HASH HASH HASH HASH HASH "\"", true, NULL },
        { "\"AB01\"", "\"" HASH HASH HASH HASH HASH HASH HASH HASH "00\"", false, "usr.salt" },
        { "C8F2B3A0-", "C8F2B3A0", false, "usr.uuid" },
        { "\"uuid\":\"C8F2B3A0-0000-4000-8000-0123456789AB\"", "\"uuid\":null", true, NULL },
        { "\"ostreeCommit\":\"0", "\"ostreeCommit\":\"x", false, "usr.ostreeCommit" },
        /* boot */
        { "\"boot\":[" FILES "]", "\"boot\":[]", false, "boot" },
        { "\"boot\":[" FILES "]", "\"boot\":{}", false, "boot" },
        { "\"boot\":[", "\"boot\":[7,", false, "boot" },
        { "\"kind\":\"uki\"", "\"kind\":\"addon\"", false, "0 UKIs" },
        { "\"kind\":\"addon-template\"", "\"kind\":\"uki\"", false, "2 UKIs" },
        { "\"kind\":\"addon-template\"", "\"kind\":\"script\"", false, "boot[1].kind" },
        { "\"kind\":\"addon-template\"", "\"kind\":\"cred\"", true, NULL },
        { "acl/uki-addons/slot-a.addon.efi", "efi/linux/VMLINUZ-6.6.121.EFI", false,
          "boot[1].path" }, /* FAT has no case */
        { "acl/uki-addons/", "/acl/uki-addons/", false, "boot[1].path" },
        { "acl/uki-addons/", "acl/../", false, "boot[1].path" },
        { "acl/uki-addons/", "acl\\\\uki-addons\\\\", false, "boot[1].path" },
        { "acl/uki-addons/slot-a.addon.efi", "EFI/Linux/vmlinuz-6.6.121.efi.", false,
          "boot[1].path" }, /* FAT drops the dot */
        { "acl/uki-addons/slot-a.addon.efi", "EFI/Linux /x.efi", false, "boot[1].path" },
        { "acl/uki-addons/slot-a.addon.efi", "EFI/Linux/x:y.efi", false, "boot[1].path" },
        { "slot-a.addon", "sl\xc3\xb6t-a.addon", false, "boot[1].path" },
        { "slot-a.addon", "a slot.addon", true, NULL },
        { "\"sha256\":\"0", "\"sha256\":\"", false, "boot[0].sha256" },
        /* revokes */
        { "[2026102100]", "[2026110400]", false, "revokes.serials" }, /* itself */
        { "[2026102100]", "[\"2026102100\"]", false, "revokes.serials" },
        { "[2026102100]", "[null]", false, "revokes.serials" },
        { "\"" HASH2 "\"", "\"0123456789ABCDEF0123456789abcdef" HEX32 "\"", false,
          "revokes.roothashes" }, /* itself, shouted */
        { "\"" HASH2 "\"", "5", false, "revokes.roothashes" },
        { "\"revokes\":{", "\"revokes\":[],\"x\":{", false, "revokes" },
        { "\"revokes\":{", "\"revokes\":null,\"x\":{", true, NULL },
        /* what must be understood */
        { "\"critical\":[]", "\"critical\":[\"revokes\",\"usr.salt\"]", true, NULL },
        { "\"critical\":[]", "\"critical\":[\"revokes\",\"waves\"]", false, "\"waves\"" },
        { "\"critical\":[]", "\"critical\":[\"salt\"]", false,
          "\"salt\"" }, /* a field of that name at the top is not known */
        { "\"critical\":[]", "\"critical\":\"serial\"", false, "critical" },
        { "\"critical\":[]", "\"critical\":[5]", false, "critical" },
        { ",\"critical\":[]", "", true, NULL },
        { "\"critical\":[]", "\"waves\":{\"deep\":[1,2,{}]}", true, NULL }, /* unknown and not critical */
        { "\"notes\":\"https://x\"", "\"notes\":7", false, "notes" },
};

static void test_spoiled(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = kit_replace(good, cases[i].from, cases[i].to);
                _cleanup_(release_done) Release rel = { 0 };
                Why why = { 0 };
                int r = parse(text, &rel, &why);

                if ((r >= 0) != cases[i].accepted || (cases[i].says && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "%s -> %s: %i %s\n", cases[i].from, cases[i].to, r, why.text);
                assert((r >= 0) == cases[i].accepted);
                assert(!cases[i].says || strstr(why.text, cases[i].says));
                assert(r >= 0 || (why.kind == WHY_TRUST && str_starts(why.text, "x.release.json: ")));
        }
}

static void test_too_many_files(void)
{
        for (unsigned n = RELEASE_BOOT_MAX; n <= RELEASE_BOOT_MAX + 1; n++) {
                _cleanup_(release_done) Release rel = { 0 };
                _cleanup_(free_charp) char *list = NULL, *text = NULL;
                Str s = STR_NULL;

                for (unsigned i = 2; i < n; i++)
                        str_addf(&s, ",{\"path\":\"c/%u.cred\",\"kind\":\"cred\",\"sha256\":\"" HASH "\"}",
                                 i);
                str_add(&s, "],\"revokes\"");
                list = str_take(&s);
                text = kit_replace(good, "],\"revokes\"", list);
                assert((parse(text, &rel, NULL) >= 0) == (n == RELEASE_BOOT_MAX));
        }
}

static void test_kinds(void)
{
        for (BootKind k = 0; k < _BOOT_KIND_MAX; k++)
                assert(boot_kind_from_name(boot_kind_name(k)) == k);
        assert(boot_kind_from_name("UKI") < 0 && boot_kind_from_name("") < 0);
}

static int parse_manifest(const void *data, size_t size, Why *why)
{
        _cleanup_(release_done) Release value = { 0 };

        return release_parse(data, size, "corpus", &value, why);
}

int main(void)
{
        test_good();
        test_spoiled();
        test_too_many_files();
        test_kinds();
        kit_corpus("manifest", parse_manifest);
        return 0;
}

/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* One good document per version, and one change at a time: what the change is for is the row's reason. */

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "image/cosi.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SUM  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ROOT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

#define IMAGE(path, c, u)                                                                                    \
        "{\"path\":\"images/" path "\",\"compressedSize\":" #c ",\"uncompressedSize\":" #u                   \
        ",\"sha384\":\"" SUM "\"}"
#define ESP_IMAGE  IMAGE("esp.zst", 500, 1048576)
#define USR_IMAGE  IMAGE("usr.zst", 4000, 8192000)
#define HASH_IMAGE IMAGE("hash.zst", 300, 73728)
#define SIG_IMAGE  IMAGE("sig.zst", 20, 1048576)
#define GPT_IMAGE  IMAGE("gpt.zst", 80, 17408)

#define ESP_FS                                                                                               \
        "{\"image\":" ESP_IMAGE ",\"mountPoint\":\"/boot\",\"fsType\":\"vfat\",\"fsUuid\":\"C3D4-250D\","    \
        "\"partType\":\"c12a7328-f81f-11d2-ba4b-00a0c93ec93b\"}"
#define USR_FS                                                                                               \
        "{\"image\":" USR_IMAGE ",\"mountPoint\":\"/usr\",\"fsType\":\"btrfs\",\"fsUuid\":\"u-1\","          \
        "\"partType\":\"5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6\","                                             \
        "\"verity\":{\"image\":" HASH_IMAGE ",\"roothash\":\"" ROOT "\"}}"
#define BOOT                                                                                                 \
        "\"bootloader\":{\"type\":\"systemd-boot\",\"systemdBoot\":{\"entries\":[{\"type\":"                 \
        "\"uki-standalone\",\"path\":\"/boot/EFI/Linux/v.efi\",\"kernel\":\"6.6\",\"cmdline\":\"\"}]}}"
#define HEAD(version)                                                                                        \
        "{\"version\":\"" version "\",\"osArch\":\"x86_64\",\"osRelease\":\"ID=azurelinux\\n"                \
        "VERSION_ID=\\\"3.0.1\\\"\\n\",\"images\":[" ESP_FS "," USR_FS "]"
#define DISK                                                                                                 \
        "\"disk\":{\"size\":134217728,\"type\":\"gpt\",\"lbaSize\":512,\"gptRegions\":["                     \
        "{\"type\":\"primary-gpt\",\"image\":" GPT_IMAGE "},"                                                \
        "{\"type\":\"partition\",\"number\":1,\"image\":" ESP_IMAGE "},"                                     \
        "{\"type\":\"partition\",\"number\":2,\"image\":" USR_IMAGE "},"                                     \
        "{\"type\":\"partition\",\"number\":3,\"image\":" HASH_IMAGE "},"                                    \
        "{\"type\":\"partition\",\"number\":4,\"image\":" SIG_IMAGE "}]}"

static const char good_10[] = HEAD("1.0") "}";
static const char good_11[] = HEAD("1.1") "," BOOT ",\"osPackages\":[{\"name\":\"bash\",\"version\":\"5\"}]}";
static const char good_12[] = HEAD("1.2") "," BOOT "," DISK ",\"compression\":{\"maxWindowLog\":23},"
                                          "\"id\":\"1D0C7a2e-0000-4000-8000-00000000abcd\"}";

static char *replace(const char *text, const char *from, const char *to)
{
        const char *at = strstr(text, from);
        char *out;

        if (!at)
                fprintf(stderr, "nothing to replace: %s\n", from);
        assert(at);
        out = str_printf("%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
        assert(out);
        return out;
}

static int parse(const char *text, bool need_sha384, Cosi *ret, Why *why)
{
        return cosi_parse(text, strlen(text), WHY_TRUST, need_sha384, ret, why);
}

static void test_good(void)
{
        static const char *const texts[] = { good_10, good_11, good_12 };

        for (unsigned i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(cosi_done) Cosi c = { 0 };
                _cleanup_(free_charp) char *version = NULL;
                Why why = { 0 };

                if (parse(texts[i], true, &c, &why) < 0)
                        fprintf(stderr, "%s\n", why.text);
                assert(why.kind == WHY_NONE && c.major == 1 && c.minor == i);
                assert(streq(c.arch, "x86_64") && c.n_filesystems == 2);
                assert(c.esp == &c.filesystems[0] && c.usr == &c.filesystems[1]);
                assert(c.usr->has_verity && !c.usr->inline_verity && streq(c.usr->roothash, ROOT));
                assert(streq(c.usr->verity.path, "images/hash.zst") &&
                       c.usr->verity.uncompressed_size == 73728);
                assert(streq(c.esp->mount_point, "/boot") && !c.esp->has_verity);
                assert(c.max_window_log == (i == 2 ? 23 : COSI_WINDOW_DEFAULT) && c.lba_size == 512);
                assert(c.n_regions == (i == 2 ? 5 : 0) && (c.packages != NULL) == (i == 1));
                version = cosi_os_release(&c, "VERSION_ID");
                assert(streq0(version, "3.0.1"));
                assert(!cosi_os_release(&c, "VERSION"));
                assert((cosi_region_of(&c, "images/hash.zst") != NULL) == (i == 2));
                assert(!cosi_region_of(&c, "images/gpt.zst")); /* no partition's */
        }
}

/* One change to a good document that must stay good. */
static void test_liberal(void)
{
        static const struct {
                const char *text, *from, *to;
                bool lax_sha384;
        } cases[] = {
                { good_12, "\"version\":\"1.2\"", "\"version\":\"1.7\"" },
                { good_10, "x86_64", "AMD64" },
                { good_10, "x86_64", "x64" },
                { good_10, ",\"sha384\":\"" SUM "\"", "",
                  true }, /* 1.0 only, when something else covers it */
                { good_10, ",\"sha384\":\"" SUM "\"", ",\"sha384\":null", true },
                { good_10, "\"sha384\":\"a", "\"sha384\":\"A" },
                { good_10, ROOT, "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef" },
                { good_10, "c12a7328-f81f-11d2", "C12A7328-F81F-11D2" },
                { good_10, "\"images\":", "\"disk\":7,\"compression\":\"x\",\"bootloader\":[],\"images\":" },
                { good_12, "\"images\":", "\"new\":{\"a\":[1.5,{\"b\":-2e9}]},\"images\":" },
                { good_12, "\"path\":", "\"path2\":null,\"path\":" },
                { good_11, ",\"osPackages\":[{\"name\":\"bash\",\"version\":\"5\"}]", "" },
                { good_11, "{\"name\":\"bash\",\"version\":\"5\"}", "{}" },
                { good_11, "systemd-boot\",\"systemdBoot\"", "lilo\",\"systemdBoot\"" },
                { good_11, "uki-standalone", "config" },
                { good_12, "\"type\":\"partition\",\"number\":4", "\"type\":\"blob\",\"number\":3" },
                { good_12, "\"maxWindowLog\":23", "\"maxWindowLog\":31" }, /* the caller judges it */
                { good_12, ",\"id\":\"1D0C7a2e-0000-4000-8000-00000000abcd\"", "" },
                { good_12, "images/esp.zst", "images/esp.zst" },
                { good_12, "\"fsType\":\"btrfs\"", "\"fsType\":\"erofs\"" },
                { good_12, "\"size\":134217728,\"type\":\"gpt\",\"lbaSize\":512",
                  "\"size\":134217728,\"type\":\"gpt\",\"lbaSize\":4096" },
                { good_12, "\"mountPoint\":\"/usr\"", "\"mountPoint\":\"/usr/\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = replace(cases[i].text, cases[i].from, cases[i].to);
                _cleanup_(cosi_done) Cosi c = { 0 };
                Why why = { 0 };
                int r = parse(text, !cases[i].lax_sha384, &c, &why);

                if (r < 0)
                        fprintf(stderr, "%s -> %s: %s\n", cases[i].from, cases[i].to, why.text);
                assert(r >= 0);
        }
}

/* One change that must be refused, and what the sentence must speak of. */
static void test_strict(void)
{
        static const struct {
                const char *text, *from, *to, *says;
        } cases[] = {
                { good_10, "{\"version\"", "[{\"version\"", "JSON" },
                { good_10, "\"version\":\"1.0\"", "\"version\":\"2.0\"", "2.0" },
                { good_10, "\"version\":\"1.0\"", "\"version\":\"1\"", "MAJOR.MINOR" },
                { good_10, "\"version\":\"1.0\"", "\"version\":\"1.0.0\"", "MAJOR.MINOR" },
                { good_10, "\"version\":\"1.0\"", "\"version\":\"1.\"", "MAJOR.MINOR" },
                { good_10, "\"version\":\"1.0\"", "\"version\":\"1.4294967296\"", "MAJOR.MINOR" },
                { good_10, "\"version\":\"1.0\"", "\"version\":1", "version" },
                { good_10, "\"version\":\"1.0\"", "\"version\":\"1.0\",\"version\":\"1.0\"", "twice" },
                { good_10, "x86_64", "riscv64", "osArch" },
                { good_10, "\"osRelease\"", "\"osrelease\"", "osRelease" },
                { good_10, "\"images\"", "\"image\"", "images" },
                { good_10, "images/esp.zst", "esp.zst", "images/" },
                { good_10, "images/esp.zst", "images/", "images/" },
                { good_10, "images/esp.zst", "images/../etc/x", "images/" },
                { good_10, "images/esp.zst", "images//x", "images/" },
                { good_10, "images/esp.zst", "images/x/", "images/" },
                { good_10, "images/esp.zst", "images/\\u0007", "images/" },
                { good_10, "\"compressedSize\":500", "\"compressedSize\":-1", "compressedSize" },
                { good_10, "\"compressedSize\":500", "\"compressedSize\":5.5", "compressedSize" },
                { good_10, "\"compressedSize\":500", "\"compressedSize\":\"500\"", "compressedSize" },
                { good_10, "\"compressedSize\":500", "\"compressedSize\":18446744073709551615",
                  "compressedSize" },
                { good_10, ",\"sha384\":\"" SUM "\"", "", "sha384" },
                { good_10, "\"sha384\":\"a", "\"sha384\":\"g", "sha384" },
                { good_10, "\"sha384\":\"a", "\"sha384\":\"", "sha384" },
                { good_10, "\"mountPoint\":\"/boot\"", "\"mountPoint\":\"/usr/\"", "/usr occurs twice" },
                { good_10, "\"mountPoint\":\"/usr\"", "\"mountPoint\":\"/\"", "/usr" },
                { good_10, "\"mountPoint\":\"/usr\"", "\"mountPoint\":null", "mountPoint" },
                { good_10, "\"fsUuid\":\"u-1\"", "\"fsUuid\":\"c3d4-250D\"", "fsUuid" },
                { good_10, "\"fsUuid\":\"u-1\"", "\"fsUuid\":\"\"", "fsUuid" },
                { good_10, "c12a7328", "c12a7329", "ESP" },
                { good_10, "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
                  "ESP" },
                { good_10, "5dfbf5f4-", "5dfbf5f4", "partType" },
                { good_10, "\"verity\":", "\"veritas\":", "verity" },
                { good_10, ROOT, "0123", "roothash" },
                { good_10, "\"roothash\":\"0", "\"roothash\":\"x", "roothash" },
                { good_10, "93ec93b\"",
                  "93ec93b\",\"verity\":{\"image\":" HASH_IMAGE ",\"roothash\":\"" ROOT "\"}", "ESP" },
                { good_10, "8192000", "8192001", "multiple" },
                { good_10, "8192000", "0", "multiple" },
                { good_10, "73728", "73000", "multiple" },
                { good_11, "\"bootloader\"", "\"bootloaders\"", "bootloader" },
                { good_11, "\"type\":\"systemd-boot\"", "\"type\":\"grub\"", "grub" },
                { good_11, "\"systemdBoot\"", "\"systemdboot\"", "systemdBoot" },
                { good_11, "\"entries\":[", "\"entries\":[],\"x\":[", "entries" },
                { good_11, "\"kernel\":\"6.6\"", "\"kernel\":6", "kernel" },
                { good_11, "\"osPackages\":[", "\"osPackages\":{},\"x\":[", "osPackages" },
                { good_11, ",\"sha384\":\"" SUM "\"", "", "sha384" },
                { good_12, "\"id\":\"1D", "\"id\":\"x", "id" },
                { good_12, "\"compression\"", "\"compressed\"", "compression" },
                { good_12, "\"maxWindowLog\":23", "\"maxWindowLog\":32", "maxWindowLog" },
                { good_12, "\"maxWindowLog\":23", "\"maxWindowLog\":\"23\"", "maxWindowLog" },
                { good_12, "\"disk\"", "\"disks\"", "disk" },
                { good_12, "\"type\":\"gpt\"", "\"type\":\"mbr\"", "gpt" },
                { good_12, "\"lbaSize\":512", "\"lbaSize\":1024", "lbaSize" },
                { good_12, "\"size\":134217728", "\"size\":134217729", "disk.size" },
                { good_12, "\"size\":134217728", "\"size\":0", "disk.size" },
                { good_12, "\"size\":134217728", "\"size\":1048576", "larger than the disk" },
                { good_12, "\"gptRegions\":[", "\"gptRegions\":[],\"x\":[", "gptRegions" },
                { good_12, "{\"type\":\"primary-gpt\",\"image\":" GPT_IMAGE "},", "", "primary GPT" },
                { good_12, "\"type\":\"primary-gpt\"", "\"type\":\"blob\"", "primary GPT" },
                { good_12, "\"type\":\"partition\"", "\"type\":\"primary-gpt\"", "twice" },
                { good_12, "\"number\":1", "\"number\":0", "number 0" },
                { good_12, "\"number\":1", "\"nummer\":1", "number" },
                { good_12, "\"number\":1", "\"number\":2", "twice" },
                { good_12, "images/esp.zst", "images/esp2.zst", "no partition" },
                { good_12, "images/hash.zst", "images/hash2.zst", "no partition" },
                { good_12, "\"compressedSize\":500", "\"compressedSize\":501", "compressedSize" },
                { good_12, "8192000", "8196096", "uncompressedSize" },
                { good_12, "\"sha384\":\"a", "\"sha384\":\"b", "sha384" },
                { good_12, "images/sig.zst", "images/usr.zst", "two partitions" },
                { good_12, "17408", "1023", "primary GPT" },
                { good_12, "17408", "1048577", "primary GPT" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = replace(cases[i].text, cases[i].from, cases[i].to);
                Cosi c = { .major = 77 };
                Why why = { 0 };
                int r = parse(text, true, &c, &why);

                if (r >= 0 || !strstr(why.text, cases[i].says))
                        fprintf(stderr, "%s -> %s: %i %s\n", cases[i].from, cases[i].to, r, why.text);
                assert(r < 0 && c.major == 77 && why.kind == WHY_TRUST && strstr(why.text, cases[i].says));
        }
}

static void test_inline(void)
{
        static const char *const changes[] = { "8192000", "8188000" };

        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(free_charp) char *text = replace(good_10, HASH_IMAGE, USR_IMAGE), *other = NULL;
                _cleanup_(cosi_done) Cosi c = { 0 };

                other = replace(text, "8192000", changes[i]); /* the first of two: then they differ */
                assert((parse(other, true, &c, NULL) >= 0) == (i == 0));
                if (i == 0)
                        assert(c.usr->has_verity && c.usr->inline_verity && !*c.usr->verity.path);
        }
}

static void test_depth_and_size(void)
{
        _cleanup_(free_charp) char *deep = NULL, *big = NULL;
        char nest[2 * 40 + 1] = { 0 };
        Cosi c = { 0 };
        Why why = { 0 };

        memset(nest, '[', 40);
        memset(nest + 40, ']', 40);
        deep = replace(good_10, "\"version\"", "\"x\":@,\"version\"");
        big = replace(deep, "@", nest);
        assert(parse(big, true, &c, &why) < 0 && strstr(why.text, "deep"));
        free(big);
        big = malloc(COSI_METADATA_MAX + 1);
        assert(big);
        memset(big, ' ', COSI_METADATA_MAX + 1);
        memcpy(big, good_10, strlen(good_10));
        assert(cosi_parse(big, COSI_METADATA_MAX + 1, WHY_IMAGE, true, &c, NULL) == -EFBIG);
        assert(cosi_parse(big, COSI_METADATA_MAX, WHY_IMAGE, true, &c, NULL) >= 0);
        cosi_done(&c);
}

static Partition part(unsigned number, const char *label, uint64_t offset, uint64_t size)
{
        Partition p = { .number = number, .offset = offset, .size = size };

        (void) snprintf(p.label, sizeof(p.label), "%s", label);
        (void) snprintf(p.type, sizeof(p.type), "%s", DISK_TYPE_USR_VERITY_SIG_X86_64);
        return p;
}

static void test_gpt(void)
{
        _cleanup_(cosi_done) Cosi c = { 0 }, old = { 0 };
        const Partition good[] = { part(1, "EFI-SYSTEM", 1048576, 1048576),
                                   part(2, "USR-A", 2097152, 8388608), part(3, "HASH-A", 10485760, 1048576),
                                   part(4, "HASH-SIG-A", 11534336, 1048576) };
        Partition p[5];
        const CosiRegion *sig = NULL;

        assert(parse(good_12, true, &c, NULL) >= 0 && parse(good_11, true, &old, NULL) >= 0);
        assert(cosi_check_gpt(&c, good, 4, WHY_IMAGE, &sig, NULL) >= 0 && sig == &c.regions[4]);
        assert(cosi_check_gpt(&old, NULL, 0, WHY_IMAGE, &sig, NULL) >= 0 && !sig);

        for (unsigned i = 0; i < 9; i++) {
                Why why = { 0 };
                size_t n = 4;
                bool ok = false;

                memcpy(p, good, sizeof(good));
                sig = &c.regions[1];
                switch (i) {
                case 0:
                        n = 3; /* a region without its partition */
                        break;
                case 1:
                        p[4] = part(5, "ROOT", 12582912, 1048576); /* a partition without a region */
                        n = 5;
                        break;
                case 2:
                        p[2].size = 69632; /* the image is larger */
                        break;
                case 3:
                        p[1].offset = 20971520; /* regions not in the disk's order */
                        break;
                case 4:
                        p[3].offset = 134217728; /* beyond the disk */
                        break;
                case 5:
                        memcpy(p[3].type, DISK_TYPE_ESP, DISK_UUID_SIZE);
                        break;
                case 6:
                        memcpy(p[2].label, "HASH-SIG-A", 11); /* two of them */
                        break;
                case 7:
                        memcpy(p[3].label, "HASH-SIG-B", 11); /* not the source slot's */
                        ok = true;
                        break;
                case 8:
                        memcpy(p[1].label, "usr", 4); /* no ACL label: no signature to look for */
                        ok = true;
                        break;
                }
                assert((cosi_check_gpt(&c, p, n, WHY_IMAGE, &sig, &why) >= 0) == ok);
                assert(ok ? !sig : sig == &c.regions[1] && why.kind == WHY_IMAGE);
        }
}

static void test_os_release(void)
{
        static const struct {
                const char *text, *key, *value;
        } cases[] = {
                { "A=1\nB=2\n", "B", "2" },
                { "A=1", "A", "1" },
                { "AB=1\n", "A", NULL },
                { "A=1\nA=2\n", "A", "2" },
                { "A=\"x y\"\n", "A", "x y" },
                { "A='x \\ y'\n", "A", "x \\ y" },
                { "A=\"x \\\" \\\\ \\n\"\n", "A", "x \" \\ \\n" },
                { "  A=x   \r\n", "A", "x" },
                { "#A=x\n", "A", NULL },
                { "A=\n", "A", "" },
                { "A=\"open\nB=1\n", "B", "1" },
                { "", "A", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *v = os_release_get(cases[i].text, cases[i].key);
                assert(streq0(v, cases[i].value));
        }
}

/* The names in the fuzz corpus say what becomes of them. */
static void test_corpus(void)
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int dir = open(GYBE_SOURCE_DIR "/integration-tests/fixtures/fuzz/cosi-meta",
                                            O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert(dir >= 0 && dir_list(dir, ".", &names) >= 0 && strv_len(names) > 10);
        for (char **name = names; *name; name++) {
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;
                Cosi c = { 0 };
                int r;

                assert(file_read(dir, *name, 64 * KIB, &b) >= 0);
                r = cosi_parse(b.data, b.size, WHY_IMAGE, true, &c, NULL);
                if ((r < 0) != str_starts(*name, "should-fail-"))
                        fprintf(stderr, "%s\n", *name);
                assert((r < 0) == str_starts(*name, "should-fail-"));
                cosi_done(&c);
        }
}

int main(void)
{
        test_good();
        test_liberal();
        test_strict();
        test_inline();
        test_depth_and_size();
        test_gpt();
        test_os_release();
        test_corpus();
        return 0;
}

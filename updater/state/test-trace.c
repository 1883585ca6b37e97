/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/evidence.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* As the 6.12 kernel and systemd 252 to 257 write them. */
static const struct {
        const char *because, *text;
        BootStage stage;
        const char *usrhash, *panic, *verity, *failure, *last;
        bool rebooted;
        uint64_t uptime;
} cases[] = {
        { "nothing", "", STAGE_NOTHING, "", "", "", "", "", false, 0 },
        { "empty lines", "\n\n\n", STAGE_NOTHING, "", "", "", "", "", false, 0 },
        { "a kernel starts",
          "<5>[    0.000000] Linux version 6.12.107\n"
          "<6>[    0.000000] Command line: initrd=x usrhash=" HEX_B " panic=5\n",
          STAGE_KERNEL, HEX_B, "", "", "", "Command line: initrd=x usrhash=" HEX_B " panic=5", false, 0 },
        { "Flatcar's spelling, upper case, in quotes",
          "[    0.10] Kernel command line: "
          "verity.usrhash=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
          STAGE_KERNEL, HEX_B, "", "", "",
          "Kernel command line: "
          "verity.usrhash=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
          false, 100000 },
        { "somebody else speaks of a root hash", "[    9.0] app: usrhash=" HEX_B "\n", STAGE_KERNEL, "", "",
          "", "", "app: usrhash=" HEX_B, false, 9000000 },
        { "a hash that is too long", "Command line: usrhash=" HEX_B "00 x\n", STAGE_KERNEL, "", "", "", "",
          "Command line: usrhash=" HEX_B "00 x", false, 0 },
        { "a hash that is cut", "Command line: usrhash=bbbb", STAGE_KERNEL, "", "", "", "",
          "Command line: usrhash=bbbb", false, 0 },
        { "the first command line counts",
          "Kernel command line: usrhash=" HEX_B "\nKernel command line: "
          "usrhash=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nx",
          STAGE_KERNEL, HEX_B, "", "", "", "x", false, 0 },
        { "panic in the initrd",
          "<6>[    1.500000] Run /init as init process\n"
          "<30>[    2.1] systemd[1]: Running in initrd.\n"
          "<30>[    2.9] systemd[1]: Reached target basic.target - Basic System.\n"
          "<0>[    3.250000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n"
          "<0>[    3.300000] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\n",
          STAGE_INITRD, "", "Attempted to kill init! exitcode=0x0000000b", "", "",
          "---[ end Kernel panic - not syncing: Attempted to kill init! ]---", false, 3300000 },
        { "a caller stands before the message",
          "<0>[    3.250000][    T1] Kernel panic - not syncing: sysrq triggered crash\n", STAGE_KERNEL, "",
          "sysrq triggered crash", "", "", "Kernel panic - not syncing: sysrq triggered crash", false,
          3250000 },
        { "a rotten slot",
          "[   14.0] systemd[1]: Running in initrd.\n"
          "[   17.1] device-mapper: verity: 254:0: data block 0 is corrupted\n"
          "[   17.1] device-mapper: verity: 254:0: data block 1 is corrupted\n"
          "[   17.2] Kernel panic - not syncing: dm-verity device corrupted\n",
          STAGE_INITRD, "", "dm-verity device corrupted",
          "device-mapper: verity: 254:0: data block 0 is corrupted", "",
          "Kernel panic - not syncing: dm-verity device corrupted", false, 17200000 },
        { "only the end of it was kept",
          "[   17.2] Kernel panic - not syncing: dm-verity device has I/O error\n", STAGE_KERNEL, "",
          "dm-verity device has I/O error", "dm-verity device has I/O error", "",
          "Kernel panic - not syncing: dm-verity device has I/O error", false, 17200000 },
        { "verity without trouble",
          "[  1.0] device-mapper: verity: sha256 using implementation \"sha256-ni\"\n", STAGE_KERNEL, "", "",
          "", "", "device-mapper: verity: sha256 using implementation \"sha256-ni\"", false, 1000000 },
        { "systemd 252, all the way, by -o short-monotonic",
          "[    2.1] lab systemd[1]: Running in initrd.\n"
          "[    5.1] lab systemd[1]: Switching root.\n"
          "[    9.1] lab systemd[1]: Reached target Basic System.\n"
          "[   12.5] lab systemd[1]: Reached target multi-user.target - Multi-User System.\n"
          "[   12.6] lab systemd[1]: Starting gybe-commit.service - Settle the boot...\n",
          STAGE_SETTLING, "", "", "", "", "Starting gybe-commit.service - Settle the boot...", false,
          12600000 },
        { "the root's basic.target",
          "[    5.1] systemd[1]: Switching root.\n[   9.1] systemd[1]: Reached target basic.target - x.\n",
          STAGE_BASIC, "", "", "", "", "systemd[1]: Reached target basic.target - x.", false, 9100000 },
        { "no initrd at all", "[   9.1] lab systemd[1]: Reached target basic.target - Basic System.\n",
          STAGE_BASIC, "", "", "", "", "Reached target basic.target - Basic System.", false, 9100000 },
        { "a device that never comes",
          "[    2.1] lab systemd[1]: Running in initrd.\n"
          "[   92.1] lab systemd[1]: dev-disk-by\\x2dlabel-NOWHERE.device: Job timed out.\n"
          "[   92.1] lab systemd[1]: Timed out waiting for device /dev/disk/by-label/NOWHERE.\n"
          "[   92.2] lab systemd[1]: Dependency failed for sysroot.mount - /sysroot.\n",
          STAGE_INITRD, "", "", "", "Timed out waiting for device /dev/disk/by-label/NOWHERE.",
          "Dependency failed for sysroot.mount - /sysroot.", false, 92200000 },
        { "an orderly reboot",
          "[   30.0] lab systemd[1]: Reached target multi-user.target - Multi-User System.\n"
          "[   99.0] lab systemd-logind[411]: System is rebooting.\n",
          STAGE_MULTI_USER, "", "", "", "", "System is rebooting.", true, 99000000 },
        { "-o cat has no time and no sender", "Switching root.\nReached target graphical.target - x.\n",
          STAGE_MULTI_USER, "", "", "", "", "Reached target graphical.target - x.", false, 0 },
        { "-o short-unix", "1730000000.123456 lab kernel: Command line: usrhash=" HEX_B "\n", STAGE_KERNEL,
          HEX_B, "", "", "", "Command line: usrhash=" HEX_B, false, 0 },
        { "times that are none", "[ab] x\n[1] y\n[  1.x] z\n[99999999999999999999.1] q\n<999999>w\n[",
          STAGE_KERNEL, "", "", "", "", "[", false, 0 },
};

static void test_scan(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                BootTrace t = { 0 };

                boot_trace_scan(&t, cases[i].text);
                if (t.stage != cases[i].stage || !streq(t.last, cases[i].last) || t.uptime != cases[i].uptime)
                        fprintf(stderr, "%s: %s, \"%s\", %llu\n", cases[i].because, boot_stage_name(t.stage),
                                t.last, (unsigned long long) t.uptime);
                assert(t.stage == cases[i].stage && streq(t.last, cases[i].last));
                assert(streq(t.usrhash, cases[i].usrhash) && streq(t.panic, cases[i].panic));
                assert(streq(t.verity, cases[i].verity) && streq(t.failure, cases[i].failure));
                assert(t.rebooted == cases[i].rebooted && t.uptime == cases[i].uptime);
        }
}

static void test_tame(void)
{
        static const struct {
                const char *in;
                size_t size, max;
                const char *out;
        } tames[] = {
                { "a\tb\r\nc", 6, 100, "a b\nc" },
                { "a\0b\033[31m\x7f\xff", 9, 100, "a?b?[31m?" },
                { "one\ntwo\nthree\n", 14, 9, "three\n" }, /* the end, from a whole line on */
                { "abcdef", 6, 3, "def" },
                { "abcde\n", 6, 3, "de\n" },
                { "", 0, 10, "" },
        };
        _cleanup_(free_charp) char *wide = malloc(100000), *tame = NULL;

        for (size_t i = 0; i < ELEMENTSOF(tames); i++) {
                _cleanup_(free_charp) char *out = evidence_tame(tames[i].in, tames[i].size, tames[i].max);

                if (!streq(out, tames[i].out))
                        fprintf(stderr, "%zu: \"%s\"\n", i, out);
                assert(streq(out, tames[i].out));
        }
        memset(wide, 'x', 100000);
        memcpy(wide + 99000, "\nend\n", 5);
        tame = evidence_tame(wide, 99005, 100000);
        assert(strlen(tame) == 4096 + 5 && str_ends(tame, "\nend\n"));
}

#define ID_1 "0123456789abcdef0123456789abcde1"
#define ID_2 "0123456789abcdef0123456789abcde2"
#define ID_3 "0123456789abcdef0123456789abcde3"

static void test_list(void)
{
        static const struct {
                const char *text;
                size_t max, n;
                const char *first;
        } lists[] = {
                { "-1 " ID_1 " Mon 2026-11-02 01:00:00 UTC—Mon 2026-11-02 02:00:00 UTC\n 0 " ID_2 " Mon\n", 8,
                  2, ID_1 },
                { "IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY\n"
                  " -2 " ID_1 " Mon\n -1 " ID_2 " Mon\n  0 " ID_3 " Mon\n",
                  8, 3, ID_1 },
                { "-2 " ID_1 " x\n-1 " ID_2 " x\n0 " ID_3 "\n", 2, 2, ID_2 }, /* the newest */
                { "0 0123456789ABCDEF0123456789ABCDE1", 1, 1, ID_1 },
                { "0 " ID_1 "0 x\n0 0123\n0" ID_1 "\nx " ID_1 "\n\n", 8, 0, NULL },
                { "No journal files were found.\n", 8, 0, NULL },
                { "0 " ID_1 "\n", 0, 0, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                char ids[8][33];
                size_t n = boot_list_parse(lists[i].text, ids, lists[i].max);

                if (n != lists[i].n)
                        fprintf(stderr, "%zu: %zu\n", i, n);
                assert(n == lists[i].n && (n == 0 || streq(ids[0], lists[i].first)));
        }
}

int main(void)
{
        for (BootStage s = 0; s < _BOOT_STAGE_MAX; s++)
                assert(boot_stage_name(s));
        assert(!boot_stage_name(_BOOT_STAGE_INVALID));
        test_scan();
        test_tame();
        test_list();
        return 0;
}

/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/evidence.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define T0    1790000000u /* when the trial was armed */

/* --- fixtures --- */

static void put(const Env *env, const char *path, const char *text, uint64_t mtime)
{
        const struct timespec times[2] = { { (time_t) mtime, 0 }, { (time_t) mtime, 0 } };
        _cleanup_(free_charp) char *folder = strdup(path);
        _cleanup_(close_fdp) int fd = -1;
        char *slash = strrchr(folder, '/');

        *slash = '\0';
        fd = dir_make(env->root_fd, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, text, strlen(text), 0644) == 0);
        assert(mtime == 0 || utimensat(fd, slash + 1, times, 0) == 0);
}

static bool there(const Env *env, const char *path)
{
        struct stat st;

        return fstatat(env->root_fd, path, &st, 0) >= 0;
}

static void efi(const Env *env, uint64_t time, unsigned part, unsigned count, const char *text)
{
        _cleanup_(free_charp) char *path = str_printf("sys/fs/pstore/dmesg-efi_pstore-%llu%02u%03u",
                                                      (unsigned long long) time, part, count),
                                   *all = str_printf("Panic#%u Part%u\n%s", count, part, text);

        put(env, path, all, 0);
}

static void open_host(char dir[32], Env *env)
{
        memcpy(dir, "/tmp/test-crash.XXXXXX", 23);
        assert(mkdtemp(dir) && env_open(dir, env, NULL) == 0);
}

static void close_host(const char *dir, Env *env)
{
        _cleanup_(free_charp) char *rm = str_printf("rm -r %s", dir);

        env_done(env);
        assert(system(rm) == 0);
}

/* --- reading --- */

static void test_parts(void)
{
        _cleanup_(crash_dumps_done) CrashDumps d = { 0 };
        char dir[32];
        Env env;

        open_host(dir, &env);
        assert(crash_dumps_read(&env, &d) == 0 && d.n == 0);

        /* two dumps, the first of twelve parts; the names do not sort as the text goes */
        for (unsigned part = 1; part <= 12; part++) {
                char text[64];

                (void) snprintf(text, sizeof(text), "[   %u.0] line %u\n", 20 - part, 13 - part);
                efi(&env, T0 + 100, part, 1, text);
        }
        efi(&env, T0 + 200, 1, 1, "[    3.0] Kernel panic - not syncing: second\n");
        put(&env, "sys/fs/pstore/console-ramoops-0", "not a dump", 0);
        put(&env, "sys/fs/pstore/dmesg-efi_pstore-179000030001001.enc.z", "packed", 0);
        put(&env, "sys/fs/pstore/dmesg-efi_pstore-179000030001001x/y", "a folder", 0);
        assert(crash_dumps_read(&env, &d) == 0);
        assert(d.n == 2 && d.list[0].time == T0 + 100 && d.list[1].time == T0 + 200);
        assert(str_starts(d.list[0].text, "[   8.0] line 1\n[   9.0] line 2\n"));
        assert(str_ends(d.list[0].text, "[   19.0] line 12\n") && strv_len(d.list[0].files) == 12);
        assert(d.list[0].trace.uptime == 19000000 && !d.list[0].trace.panic[0]);
        assert(streq(d.list[1].trace.panic, "second"));
        assert(crash_dump_remove(&env, &d.list[0]) == 0);
        assert(!there(&env, "sys/fs/pstore/dmesg-efi_pstore-179000010012001") &&
               !there(&env, "sys/fs/pstore/dmesg-efi_pstore-179000010001001"));
        assert(there(&env, "sys/fs/pstore/dmesg-efi_pstore-179000020001001"));
        assert(crash_dump_remove(&env, &d.list[0]) == 0);
        close_host(dir, &env);
}

static void test_other_backends(void)
{
        _cleanup_(crash_dumps_done) CrashDumps d = { 0 };
        char dir[32];
        Env env;

        open_host(dir, &env);
        /* erst: records with numbers of their own; ramoops: a file a dump, of different boots */
        put(&env, "sys/fs/pstore/dmesg-erst-7000000001", "Panic#1 Part2\nfirst\n", T0 + 5);
        put(&env, "sys/fs/pstore/dmesg-erst-7000000002", "Panic#1 Part1\nlast\n", T0 + 6);
        put(&env, "sys/fs/pstore/dmesg-ramoops-0", "Panic#1 Part1\nboot one\n", T0 + 7);
        put(&env, "sys/fs/pstore/dmesg-ramoops-1", "Panic#1 Part1\nboot two\n", T0 + 900);
        put(&env, "sys/fs/pstore/dmesg-ramoops-2", "Oops#1 Part1\nan oops\n", 5);
        put(&env, "sys/fs/pstore/dmesg-ramoops-3", "no header\n", T0);
        assert(crash_dumps_read(&env, &d) == 0 && d.n == 5);
        assert(streq(d.list[0].text, "first\nlast\n") && strv_len(d.list[0].files) == 2);
        assert(streq(d.list[1].text, "boot one\n") && d.list[1].time == T0 + 7);
        assert(streq(d.list[2].text, "boot two\n") && d.list[2].time == T0 + 900);
        assert(streq(d.list[3].text, "an oops\n") && d.list[3].time == 0); /* a clock that was never set */
        assert(streq(d.list[4].text, "no header\n"));
        close_host(dir, &env);
}

static void test_archive(void)
{
        _cleanup_(crash_dumps_done) CrashDumps d = { 0 };
        char dir[32], path[128];
        Env env;

        open_host(dir, &env);
        put(&env, "var/lib/systemd/pstore/1790000050/001/dmesg.txt",
            "Panic#1 Part2\n[    1.0] one\nPanic#1 Part1\n[    2.0] two\n", T0 + 5000);
        put(&env, "var/lib/systemd/pstore/1790000050/001/dmesg-efi_pstore-179000005001001",
            "Panic#1 Part1\n[    2.0] two\n", 0);
        put(&env, "var/lib/systemd/pstore/179000006001/dmesg.txt", "old layout\n", 0);
        put(&env, "var/lib/systemd/pstore/7/dmesg.txt", "no time in the name\n", T0 + 70);
        put(&env, "var/lib/systemd/pstore/dmesg-ramoops-0", "Panic#2 Part1\nflat\n", T0 + 80);
        efi(&env, T0 + 50, 2, 1, "[    1.0] one\n"); /* the same once more (Unlink=no) */
        efi(&env, T0 + 50, 1, 1, "[    2.0] two\n");
        assert(symlinkat("..", env.root_fd, "var/lib/systemd/pstore/loop") == 0);
        assert(crash_dumps_read(&env, &d) == 0);
        assert(d.n == 4);
        assert(streq(d.list[0].text, "[    1.0] one\n[    2.0] two\n") && d.list[0].files &&
               d.list[0].time == T0 + 50);
        assert(streq(d.list[1].text, "flat\n") && !d.list[1].files && d.list[1].time == T0 + 80);
        assert(streq(d.list[2].text, "no time in the name\n") && d.list[2].time == T0 + 70);
        assert(streq(d.list[3].text, "old layout\n") && d.list[3].time == T0 + 60);
        assert(crash_dump_remove(&env, &d.list[1]) == 0);
        assert(there(&env, "var/lib/systemd/pstore/dmesg-ramoops-0")); /* an archive is not ours to clean */

        /* many: the newest, and an end */
        for (unsigned i = 0; i < 100; i++) {
                char text[32];

                (void) snprintf(path, sizeof(path), "var/lib/systemd/pstore/%u/001/dmesg.txt", T0 + 1000 + i);
                (void) snprintf(text, sizeof(text), "dump %u\n", i);
                put(&env, path, text, 0);
        }
        crash_dumps_done(&d);
        assert(crash_dumps_read(&env, &d) == 0 && d.n == 32);
        close_host(dir, &env);
}

static void test_hostile(void)
{
        _cleanup_(crash_dumps_done) CrashDumps d = { 0 };
        _cleanup_(free_charp) char *huge = malloc(200 * 1024 + 1);
        char dir[32];
        Env env;

        open_host(dir, &env);
        memset(huge, 'x', 200 * 1024);
        huge[200 * 1024] = '\0';
        put(&env, "sys/fs/pstore/dmesg-efi_pstore-179000010001001", huge, 0); /* no kernel makes one */
        put(&env, "sys/fs/pstore/dmesg-efi_pstore-99999999999999999999999", "x", 0);
        put(&env, "sys/fs/pstore/dmesg-", "Panic#4294967296 Part99999999999\n\033]0;title\007x", 0);
        put(&env, "var/lib/systemd/pstore/1790000050/001/dmesg.txt", huge, 0);
        assert(crash_dumps_read(&env, &d) == 0 && d.n == 3);
        for (size_t i = 0; i < d.n; i++)
                assert(strlen(d.list[i].text) <= EVIDENCE_TEXT_MAX && !strpbrk(d.list[i].text, "\033\007"));
        close_host(dir, &env);
}

/* --- blaming --- */

static const struct {
        const char *because;
        uint64_t time;
        const char *text;
        const char *kernel, *old_kernel;
        uint64_t returned_at, other;
        CrashBlame blame;
} blames[] = {
        { "its command line", T0 + 60, "[ 0.0] Command line: usrhash=" HEX_B "\n[ 9.0] x\n", NULL, NULL, 0, 0,
          CRASH_BY_ROOTHASH },
        { "its command line, by a clock that was never set", 0, "[ 0.0] Command line: usrhash=" HEX_B "\n",
          NULL, NULL, 0, 0, CRASH_BY_ROOTHASH },
        { "its command line, of a try long ago", T0 - 90000, "[ 0.0] Command line: usrhash=" HEX_B "\n", NULL,
          NULL, 0, 0, CRASH_OTHER },
        { "another command line", T0 + 60, "[ 0.0] Command line: usrhash=" HEX_A "\n[ 9.0] x\n", NULL, NULL,
          0, 0, CRASH_OTHER },
        { "it began after the trial was armed", T0 + 60, "[    9.0] Kernel panic\n", NULL, NULL, 0, 0,
          CRASH_BY_TIME },
        { "the hardware clock is a little slow", T0 - 10, "[    9.0] Kernel panic\n", NULL, NULL, 0, 0,
          CRASH_BY_TIME },
        { "the old slot panicked before it went down: its kernel began earlier", T0 + 60,
          "[ 3600.0] Kernel panic\n", NULL, NULL, 0, 0, CRASH_OTHER },
        { "long before", T0 - 5000, "[    9.0] Kernel panic\n", NULL, NULL, 0, 0, CRASH_OTHER },
        { "in the boot that looks back", T0 + 600, "[    9.0] Oops\n", NULL, NULL, T0 + 300, 0, CRASH_OTHER },
        { "no time stamps: nobody can say when it began", T0 + 60, "Kernel panic\n", NULL, NULL, 0, 0,
          CRASH_OTHER },
        { "no time at all", 0, "[    9.0] Kernel panic\n", NULL, NULL, 0, 0, CRASH_OTHER },
        { "another boot since then began at that moment", T0 + 60, "[    9.0] Kernel panic\n", NULL, NULL, 0,
          T0 + 55, CRASH_OTHER },
        { "another boot began at another moment", T0 + 60, "[    9.0] Kernel panic\n", NULL, NULL, 0,
          T0 + 600, CRASH_BY_TIME },
        { "the target's kernel", T0 + 60, "[    9.0] CPU: 0 PID: 1 Comm: sh Not tainted 6.6.130-1 #1\n",
          "6.6.130-1", "6.6.121-1", 0, 0, CRASH_BY_KERNEL },
        { "the old slot's kernel", T0 + 60, "[    9.0] CPU: 0 PID: 1 Comm: sh Not tainted 6.6.121-1 #1\n",
          "6.6.130-1", "6.6.121-1", 0, 0, CRASH_OTHER },
        { "a release that begins like it", T0 + 60, "[    9.0] Not tainted 6.6.121-1 #1\n", "6.6.130",
          "6.6.121", 0, 0, CRASH_BY_TIME },
        { "the same kernel in both", T0 + 60, "[    9.0] Not tainted 6.6.121 #1\n", "6.6.121", "6.6.121", 0,
          0, CRASH_BY_TIME },
        { "the target's kernel, but before the trial", T0 - 5000, "[    9.0] Not tainted 6.6.130 #1\n",
          "6.6.130", "6.6.121", 0, 0, CRASH_OTHER },
        { "an uptime beyond all clocks", T0 + 60, "[9999999999.0] x\n", NULL, NULL, 0, 0, CRASH_OTHER },
};

static void test_blame(void)
{
        for (size_t i = 0; i < ELEMENTSOF(blames); i++) {
                CrashDump dump = { .time = blames[i].time, .text = (char *) blames[i].text };
                TrialBoot trial = { .roothash = HEX_B,
                                    .armed_at = T0,
                                    .returned_at = blames[i].returned_at,
                                    .kernel = blames[i].kernel,
                                    .old_kernel = blames[i].old_kernel,
                                    .others = &blames[i].other,
                                    .n_others = blames[i].other > 0 };
                CrashBlame blame;

                boot_trace_scan(&dump.trace, dump.text);
                blame = crash_blame(&dump, &trial);
                if (blame != blames[i].blame)
                        fprintf(stderr, "%s: %s\n", blames[i].because, crash_blame_name(blame));
                assert(blame == blames[i].blame);
                trial.armed_at = 0; /* nobody knows when: only the command line can tell */
                blame = crash_blame(&dump, &trial);
                assert(blame == CRASH_OTHER || blame == CRASH_BY_ROOTHASH);
        }
}

int main(void)
{
        test_parts();
        test_other_backends();
        test_archive();
        test_hostile();
        test_blame();
        return 0;
}

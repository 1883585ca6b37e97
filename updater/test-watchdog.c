/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "watchdog.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static void test_seconds(void)
{
        static const struct {
                const char *text;
                int r;
                uint64_t seconds;
        } cases[] = {
                { "30", 0, 30 },
                { "30s", 0, 30 },
                { "1min 30s", 0, 90 },
                { "1h2m3s", 0, 3723 },
                { "2 hours", 0, 7200 },
                { "1500ms", 0, 2 },
                { "1d", 0, 86400 },
                { "0", 0, 0 },
                { "off", 0, 0 },
                { "infinity", 0, 0 },
                { "", -EINVAL, 0 },
                { " ", -EINVAL, 0 },
                { "default", -EINVAL, 0 },
                { "s", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "3 fortnights", -EINVAL, 0 },
                { "99999999999999999999", -ERANGE, 0 },
                { "99999999999999999d", -ERANGE, 0 },
                { "18446744073709551615us 18446744073709551615us", -ERANGE, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t n = 0;
                int r = systemd_seconds(cases[i].text, &n);

                if (r != cases[i].r || n != cases[i].seconds)
                        fprintf(stderr, "\"%s\": %d %llu\n", cases[i].text, r, (unsigned long long) n);
                assert(r == cases[i].r && n == cases[i].seconds);
        }
}

static void test_ini(void)
{
        static const struct {
                const char *text, *value;
        } cases[] = {
                { "[Manager]\nX=1\n", "1" },
                { "[Manager]\n  X  =  1 2 \r\nX=3", "3" },
                { "[Manager]\nX=1\nX=\n", "" },
                { "[Manager]\n#X=1\n;X=2\nY=3\n", NULL },
                { "X=1\n", NULL },
                { "[Other]\nX=1\n[Manager]\n[Other]\nX=2", NULL },
                { "[Manager\nX=1\n", NULL },
                { "[ManagerX]\nX=1\n", NULL },
                { "[Manager]\nXX=1\nX\n=1\n", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *value = NULL;

                assert(systemd_ini_get(cases[i].text, "Manager", "X", &value) == (cases[i].value != NULL));
                if (!streq0(value, cases[i].value))
                        fprintf(stderr, "%s: %s\n", cases[i].text, value);
                assert(streq0(value, cases[i].value));
        }
}

/* --- a host made of files --- */

typedef struct File {
        const char *path, *text;
} File;

#define DEVICE(state_)                                                                                       \
        {                                                                                                    \
                "sys/class/watchdog/watchdog0/state", state_                                                 \
        }
#define ITCO                                                                                                 \
        { "sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n" },                                           \
        {                                                                                                    \
                "sys/class/watchdog/watchdog0/timeout", "30\n"                                               \
        }
#define CONF(dir, sec)                                                                                       \
        {                                                                                                    \
                dir, "[Manager]\nRuntimeWatchdogSec=" sec "\n"                                               \
        }

static const struct {
        const char *because;
        File files[6];
        int present, armed;
        bool software, ended;
        uint64_t timeout;
        int configured; /* -1: not at all */
        const char *says;
} hosts[] = {
        { "nothing is known", { { 0 } }, -1, -1, false, false, 0, -1, "not known" },
        { "the kernel has no watchdog",
          { { "sys/class/watchdog/x", "" } },
          0,
          -1,
          false,
          false,
          0,
          -1,
          "there is no hardware watchdog" },
        { "armed",
          { DEVICE("active\n"), ITCO },
          1,
          1,
          false,
          false,
          30,
          -1,
          "iTCO_wdt is armed, resets after 30 s" },
        { "not armed, nobody is told to",
          { DEVICE("inactive\n"), ITCO },
          1,
          0,
          false,
          false,
          30,
          -1,
          "iTCO_wdt is not armed, so a hang stays a hang: systemd is not told" },
        { "not armed though systemd is told",
          { DEVICE("inactive\n"), CONF("etc/systemd/system.conf", "1min") },
          1,
          0,
          false,
          false,
          0,
          60,
          "systemd holds it: 60 s by /etc/systemd/system.conf" },
        { "it does not say",
          { { "sys/class/watchdog/watchdog0/identity", "x\n" } },
          1,
          -1,
          false,
          false,
          0,
          -1,
          "not known whether x is armed" },
        { "the kernel watches itself",
          { DEVICE("active\n"), { "sys/class/watchdog/watchdog0/identity", "Software Watchdog\n" } },
          1,
          1,
          true,
          false,
          0,
          -1,
          "does not end a dead kernel" },
        { "it has bitten",
          { DEVICE("active\n"), ITCO, { "sys/class/watchdog/watchdog0/bootstatus", "32\n" } },
          1,
          1,
          false,
          true,
          30,
          -1,
          "armed" },
        { "another status",
          { DEVICE("active\n"), ITCO, { "sys/class/watchdog/watchdog0/bootstatus", "-1\n" } },
          1,
          1,
          false,
          false,
          30,
          -1,
          "armed" },
        { "a name from a driver with control characters",
          { DEVICE("active\n"), { "sys/class/watchdog/watchdog0/identity", "a\033[31mb\n" } },
          1,
          1,
          false,
          false,
          0,
          -1,
          "a?[31mb is armed" },
        { "the stronger main file counts alone",
          { CONF("usr/lib/systemd/system.conf", "10"), { "etc/systemd/system.conf", "[Manager]\n" } },
          -1,
          -1,
          false,
          false,
          0,
          -1,
          "" },
        { "a drop-in overrides, by name and not by folder",
          { CONF("etc/systemd/system.conf", "10"), CONF("etc/systemd/system.conf.d/10-a.conf", "20"),
            CONF("usr/lib/systemd/system.conf.d/50-b.conf", "40"),
            CONF("etc/systemd/system.conf.d/60-c.txt", "60") },
          -1,
          -1,
          false,
          false,
          0,
          40,
          "" },
        { "a masked drop-in",
          { CONF("usr/lib/systemd/system.conf.d/50-b.conf", "40"),
            { "etc/systemd/system.conf.d/50-b.conf", "" } },
          -1,
          -1,
          false,
          false,
          0,
          -1,
          "" },
        { "the command line has the last word",
          { CONF("etc/systemd/system.conf", "10"),
            { "proc/cmdline", "quiet systemd.watchdog_sec=0 usrhash=00\n" } },
          -1,
          -1,
          false,
          false,
          0,
          0,
          "" },
        { "a value that nobody understands",
          { CONF("etc/systemd/system.conf", "soon") },
          -1,
          -1,
          false,
          false,
          0,
          -1,
          "" },
};

static void put(const Env *env, const File *f)
{
        _cleanup_(free_charp) char *folder = strdup(f->path);
        _cleanup_(close_fdp) int fd = -1;
        char *slash = strrchr(folder, '/');

        *slash = '\0';
        fd = dir_make(env->root_fd, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, f->text, strlen(f->text), 0644) == 0);
}

static void test_look(void)
{
        for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
                char dir[] = "/tmp/test-watchdog.XXXXXX", says[256];
                _cleanup_(free_charp) char *rm = NULL;
                _cleanup_(env_done) Env env = ENV_NULL;
                Watchdog w;

                assert(mkdtemp(dir) && env_open(dir, &env, NULL) == 0);
                for (size_t k = 0; k < ELEMENTSOF(hosts[i].files) && hosts[i].files[k].path; k++)
                        put(&env, &hosts[i].files[k]);
                assert(watchdog_look(&env, &w) == 0);
                watchdog_tell(&w, says, sizeof(says));
                if (!strstr(says, hosts[i].says) || w.present != hosts[i].present)
                        fprintf(stderr, "%s: %s\n", hosts[i].because, says);
                assert(w.present == hosts[i].present && w.armed == hosts[i].armed);
                assert(w.software == hosts[i].software && w.ended_the_last == hosts[i].ended);
                assert(w.timeout == hosts[i].timeout && w.has_config == (hosts[i].configured >= 0));
                assert(hosts[i].configured < 0 || w.configured == (uint64_t) hosts[i].configured);
                assert(strstr(says, hosts[i].says));
                rm = str_printf("rm -r %s", dir);
                assert(system(rm) == 0);
        }
}

int main(void)
{
        test_seconds();
        test_ini();
        test_look();
        return 0;
}

/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "slot/pace.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void test_parse(void)
{
        static const struct {
                const char *text;
                int r;
                uint64_t total;
        } cases[] = {
                { "some avg10=0.00 avg60=0.14 avg300=0.08 total=412345\nfull avg10=0.00 total=7\n", 0,
                  412345 },
                { "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", 0, 0 },
                { "some avg10=0.00 total=18446744073709551615\n", 0, UINT64_MAX },
                { "some avg10=0.00 total=18446744073709551616\n", -EBADMSG, 0 },
                { "some avg10=0.00 avg60=0.14\nfull avg10=0.00 total=7\n", -EBADMSG, 0 }, /* another line's */
                { "full avg10=0.00 total=7\n", -EBADMSG, 0 },
                { "some avg10=0.00 total=\n", -EBADMSG, 0 },
                { "some avg10=0.00 total=12x\n", -EBADMSG, 0 },
                { "some avg10=0.00 total=111111111111111111111111111111\n", -EBADMSG, 0 },
                { "some ", -EBADMSG, 0 },
                { "", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t total = 0;

                assert(pressure_parse(cases[i].text, &total) == cases[i].r);
                assert(total == cases[i].total);
        }
}

static void test_percent(void)
{
        assert(pressure_percent(0, 0, 0) == 0);
        assert(pressure_percent(100, 100, 1000) == 0);
        assert(pressure_percent(0, 234, 1000) == 23);
        assert(pressure_percent(0, 235, 1000) == 24);
        assert(pressure_percent(0, 5000, 1000) == 100);                     /* the clocks differ a little */
        assert(pressure_percent(5000, 0, 1000) == 0);                       /* counted anew */
        assert(pressure_percent(0, UINT64_MAX, UINT64_MAX) == 100);         /* no overflow */
        assert(pressure_percent(0, UINT64_MAX, UINT64_MAX / 2 + 1) == 100); /* nor here */
}

#define SECOND UINT64_C(1000000)

/* A trace: windows of one second, the gait after each. Letters: f free, s slow, p paused, t trickling. */
static void run_trace(const char *why, unsigned limit, const unsigned *io, const char *gaits)
{
        Governor g = { .limit = { [PRESSURE_IO] = limit } };

        for (size_t i = 0; gaits[i]; i++) {
                const unsigned percent[_PRESSURE_MAX] = { io[i], 100, 100 }; /* the others are not asked */
                Gait gait = governor_window(&g, percent, (i + 1) * SECOND);

                if ("fspt"[gait] != gaits[i]) {
                        fprintf(stderr, "%s: window %zu is %c\n", why, i, "fspt"[gait]);
                        abort();
                }
        }
}

#define TEN                           90, 90, 90, 90, 90, 90, 90, 90, 90, 90
#define TRACE(why, limit, gaits, ...) run_trace(why, limit, (const unsigned[]){ __VA_ARGS__ }, gaits)

static void test_traces(void)
{
        TRACE("quiet", 20, "fff", 0, 9, 0);
        TRACE("from half of the limit: slow", 20, "fsss", 9, 10, 19, 19);
        TRACE("at the limit: at once", 20, "fp", 0, 20);
        TRACE("one calm window is not enough", 20, "pppp", 20, 14, 15, 14);
        TRACE("two are; then from slow to free", 20, "ppssf", 50, 14, 14, 7, 7);
        TRACE("between the thresholds nothing changes", 20, "ppppssss", 20, 14, 15, 14, 14, 14, 8, 15);
        TRACE("slow stays slow above three eighths", 20, "sssssf", 10, 8, 7, 8, 7, 7);
        TRACE("a limit of 1", 1, "fpppssf", 0, 1, 1, 0, 0, 0, 0);
        TRACE("a limit of 100", 100, "sspp", 50, 99, 100, 75);
        TRACE("not asked", 0, "ff", 100, 100);
        TRACE("unknown stops nobody", 20, "pf", 20, PRESSURE_UNKNOWN);
        TRACE("ten seconds of pause, then a trickle that ends when it is calm", 20, "ppppppppppttss", TEN, 90,
              3, 3, 19);
        TRACE("a trickle does not pause again by itself", 20, "ppppppppppttttt", TEN, 90, 100, 100, 3, 100);
}

/* The one nearest to its own limit speaks. */
static void test_who(void)
{
        Governor g = { .limit = { 20, 50, 10 } };
        const unsigned percent[_PRESSURE_MAX] = { 21, 49, 12 };

        assert(governor_window(&g, percent, SECOND) == GAIT_PAUSED);
        assert(g.who == PRESSURE_MEMORY && g.percent == 12);
}

static void test_urgent(void)
{
        const unsigned percent[_PRESSURE_MAX] = { 99, 99, 99 };
        Governor g = { .limit = { 20, 20, 20 }, .urgent = true };

        assert(governor_window(&g, percent, SECOND) == GAIT_FREE);
        g.urgent = false;
        assert(governor_window(&g, percent, SECOND) == GAIT_PAUSED);
        governor_yielded(&g, GOVERNOR_PATIENCE_US - 1);
        assert(!g.urgent);
        governor_yielded(&g, 1);
        assert(g.urgent && g.gait == GAIT_FREE && governor_window(&g, percent, 2 * SECOND) == GAIT_FREE);
}

/* --- with files --- */

static char root[] = "/tmp/test-pace-XXXXXX";

static void put(const char *path, uint64_t total)
{
        char name[256], next[264];
        FILE *f;

        (void) snprintf(name, sizeof(name), "%s%s", root, path);
        (void) snprintf(next, sizeof(next), "%s.new", name);
        f = fopen(next, "we");
        assert(f);
        (void) fprintf(f, "some avg10=0.00 avg60=0.00 avg300=0.00 total=%llu\n", (unsigned long long) total);
        assert(fclose(f) == 0 && rename(next, name) == 0);
}

static uint64_t now_us(void)
{
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

/* A host on which somebody waits half of the time, until told otherwise. */
typedef struct Host {
        const char *path;
        volatile bool busy, stop;
} Host;

static void *host_run(void *ctx)
{
        Host *h = ctx;
        uint64_t total = 0, last = now_us();

        while (!h->stop) {
                uint64_t now = now_us();

                if (h->busy)
                        total += (now - last) / 2;
                last = now;
                put(h->path, total);
                (void) usleep(2000);
        }
        return NULL;
}

static int n_ticks;
static char seen[PACE_TEXT_SIZE];
static Pace *ticking;
static Host *calming;

/* After a while the host has nothing to do any more. */
static int tick(void *ctx)
{
        int *end_with = ctx;
        char text[PACE_TEXT_SIZE];

        pace_text(ticking, text);
        if (text[0])
                memcpy(seen, text, sizeof(seen));
        if (++n_ticks == 4)
                calming->busy = false;
        return end_with ? *end_with : 0;
}

static void test_gate(const char *path)
{
        const PaceLimits limits = { .percent = { [PRESSURE_IO] = 20 } };
        Host host = { .path = path, .busy = true };
        Env env = ENV_NULL;
        Why why = { 0 };
        pthread_t thread;
        int end_with = -ECANCELED;
        uint64_t until;

        put(path, 0);
        assert(env_open(root, &env, &why) >= 0);
        assert(pthread_create(&thread, NULL, host_run, &host) == 0);
        calming = &host;
        n_ticks = 0;
        seen[0] = 0;
        assert(pace_new(&env, &limits, tick, NULL, &ticking) >= 0);
        until = now_us() + 60 * SECOND;
        while (n_ticks < 4) { /* on a machine that is busy itself a look may see nothing */
                assert(pace_gate(ticking, 1) == 0);
                assert(now_us() < until);
                (void) usleep(10000);
        }
        assert(strncmp(seen, "slowed: io pressure ", 20) == 0 ||
               strncmp(seen, "paused: io pressure ", 20) == 0);
        assert(pace_yielded_us(ticking) > 0);
        ticking = pace_free(ticking);

        /* who is told to stop while it waits stops */
        host.busy = true;
        n_ticks = 0;
        assert(pace_new(&env, &limits, tick, &end_with, &ticking) >= 0);
        while (pace_gate(ticking, 1) != -ECANCELED) {
                host.busy = true;
                assert(now_us() < until);
                (void) usleep(10000);
        }
        ticking = pace_free(ticking);

        host.stop = true;
        assert(pthread_join(thread, NULL) == 0);
        env_done(&env);
}

static void test_no_files(void)
{
        const PaceLimits limits = { .percent = { 20, 20, 20 } };
        Env env = ENV_NULL;
        Why why = { 0 };
        char text[PACE_TEXT_SIZE];
        Pace *p = NULL;

        assert(env_open(root, &env, &why) >= 0);
        assert(pace_new(&env, &limits, NULL, NULL, &p) >= 0);
        for (unsigned i = 0; i < 1000; i++)
                assert(pace_gate(p, 128 * 1024) == 0);
        pace_text(p, text);
        assert(streq(text, "") && pace_yielded_us(p) == 0);
        p = pace_free(p);
        assert(pace_gate(NULL, 1) == 0 && pace_yielded_us(NULL) == 0);
        env_done(&env);
}

static void make_dir(const char *path)
{
        char name[256];

        (void) snprintf(name, sizeof(name), "%s%s", root, path);
        assert(mkdir(name, 0755) == 0);
}

int main(void)
{
        char command[64];

        test_parse();
        test_percent();
        test_traces();
        test_who();
        test_urgent();

        assert(mkdtemp(root));
        test_no_files();
        make_dir("/proc");
        make_dir("/proc/pressure");
        test_gate("/proc/pressure/io");
        make_dir("/sys");
        make_dir("/sys/fs");
        make_dir("/sys/fs/cgroup");
        make_dir("/sys/fs/cgroup/kubepods.slice");
        test_gate("/sys/fs/cgroup/kubepods.slice/io.pressure");
        (void) snprintf(command, sizeof(command), "rm -rf %s", root);
        assert(system(command) == 0);
        return 0;
}

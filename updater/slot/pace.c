/* SPDX-License-Identifier: MIT */

/* The files, the clock and the waiting around pressure.c's decisions. A look costs 10 ms of standing still once a second
 * where only the host's own counters exist, and nothing where the pods' do. The totals in these files are exact to the
 * moment of reading; the averages beside them are only made every two seconds. */

#include "slot/pace.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define LOOK_US    1000000u /* between two looks while work goes on */
#define LISTEN_US  10000u   /* standing still, to hear the others */
#define CONFIRM_US 90000u   /* more of it, when the first moment sounded like pressure */
#define NAP_US     250000u  /* between two looks while it does not */
#define REST_US    100000u  /* at most, after one unit of a slow gait */
/* A disk that always has somebody waiting: an eighth of a MiB in 1/16 s. 1 GiB takes under nine minutes. */
#define TRICKLE_PER_SEC (2u * 1024u * 1024u)
#define FILE_MAX        512u /* two lines */

/* Where a kind's number comes from. */
typedef enum Witness {
        WITNESS_NONE,
        WITNESS_PODS, /* counts the pods and nobody else */
        WITNESS_HOST, /* counts us, too */
} Witness;

typedef struct Reading {
        uint64_t at_us;
        uint64_t total_us[_PRESSURE_MAX];
        bool known[_PRESSURE_MAX];
} Reading;

struct Pace {
        const Env *env;
        Governor governor;
        PaceTick tick;
        void *ctx;
        char *paths[_PRESSURE_MAX];
        Witness witness[_PRESSURE_MAX];
        bool watching;  /* some limit has a witness */
        bool listening; /* one of them is the host */
        Reading before; /* of the last look */
        uint64_t next_look_us, resumed_us;
};

static uint64_t now_us(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

Pace *pace_free(Pace *p)
{
        if (!p)
                return NULL;
        for (PressureKind k = 0; k < _PRESSURE_MAX; k++)
                free(p->paths[k]);
        free(p);
        return NULL;
}

void pace_freep(Pace **p)
{
        *p = pace_free(*p);
}

static bool read_total(const Env *env, const char *path, uint64_t *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        return path && env_read(env, path, FILE_MAX, &b) >= 0 && b.data &&
               pressure_parse((const char *) b.data, ret) >= 0;
}

/* Where both drivers of the kubelet put the pods, then the host. Memory is the host's whoever uses it up: when it is scarce
 * the pods are killed, not merely slowed. */
static int find_witness(Pace *p, PressureKind k)
{
        static const char *const slices[] = { "/sys/fs/cgroup/kubepods.slice", "/sys/fs/cgroup/kubepods" };
        const char *name = pressure_name(k);
        uint64_t ignored;

        for (size_t i = 0; i < ELEMENTSOF(slices) + 1; i++) {
                bool pods = i < ELEMENTSOF(slices);
                _cleanup_(free_charp) char *path = pods ? str_printf("%s/%s.pressure", slices[i], name)
                                                        : str_printf("/proc/pressure/%s", name);

                if (!path)
                        return -ENOMEM;
                if ((pods && k == PRESSURE_MEMORY) || !read_total(p->env, path, &ignored))
                        continue;
                p->paths[k] = TAKE(path);
                p->witness[k] = pods ? WITNESS_PODS : WITNESS_HOST;
                return 0;
        }
        return 0;
}

static void take_reading(const Pace *p, Reading *ret)
{
        *ret = (Reading){ .at_us = now_us() };
        for (PressureKind k = 0; k < _PRESSURE_MAX; k++)
                ret->known[k] = p->paths[k] && read_total(p->env, p->paths[k], &ret->total_us[k]);
}

int pace_new(const Env *env, const PaceLimits *limits, PaceTick tick, void *ctx, Pace **ret)
{
        _cleanup_(pace_freep) Pace *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->env = env;
        p->tick = tick;
        p->ctx = ctx;
        p->governor.urgent = limits->urgent;
        for (PressureKind k = 0; k < _PRESSURE_MAX; k++) {
                int r;

                p->governor.limit[k] = limits->percent[k];
                if (limits->percent[k] == 0)
                        continue;
                r = find_witness(p, k);
                if (r < 0)
                        return r;
                p->watching = p->watching || p->witness[k] != WITNESS_NONE;
                p->listening = p->listening || (p->witness[k] == WITNESS_HOST && k != PRESSURE_MEMORY);
        }
        take_reading(p, &p->before);
        p->resumed_us = p->before.at_us;
        *ret = TAKE(p);
        return 0;
}

static void sleep_us(uint64_t us)
{
        struct timespec ts = { (time_t) (us / 1000000), (long) (us % 1000000) * 1000 };

        while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
                ;
}

static void yield(Pace *p, uint64_t us)
{
        sleep_us(us);
        governor_yielded(&p->governor, us);
}

/* The host's word counts over from..to, the pods' since the last look. */
static void judge(const Pace *p, const Reading *from, const Reading *to, unsigned percent[_PRESSURE_MAX])
{
        for (PressureKind k = 0; k < _PRESSURE_MAX; k++) {
                const Reading *start =
                        p->witness[k] == WITNESS_HOST && k != PRESSURE_MEMORY ? from : &p->before;

                percent[k] = start->known[k] && to->known[k]
                                     ? pressure_percent(start->total_us[k], to->total_us[k],
                                                        to->at_us - start->at_us)
                                     : PRESSURE_UNKNOWN;
        }
}

/* From half of a limit on it is worth hearing better. */
static bool sounds_like_pressure(const Pace *p, const unsigned percent[_PRESSURE_MAX])
{
        for (PressureKind k = 0; k < _PRESSURE_MAX; k++)
                if (percent[k] != PRESSURE_UNKNOWN && p->governor.limit[k] > 0 &&
                    percent[k] * 2 >= p->governor.limit[k])
                        return true;
        return false;
}

static void look(Pace *p)
{
        bool still = p->governor.gait == GAIT_PAUSED || p->governor.gait == GAIT_TRICKLE;
        unsigned percent[_PRESSURE_MAX];
        Reading from = p->before, to;

        if (p->listening && !still) {
                take_reading(p, &from);
                sleep_us(LISTEN_US);
        }
        take_reading(p, &to);
        judge(p, &from, &to, percent);
        if (p->listening && !still && sounds_like_pressure(p, percent)) {
                sleep_us(CONFIRM_US);
                take_reading(p, &to);
                judge(p, &from, &to, percent);
        }
        (void) governor_window(&p->governor, percent, to.at_us);
        p->before = to;
        p->next_look_us = to.at_us + (p->governor.gait == GAIT_FREE ? LOOK_US : NAP_US);
}

static int stand(Pace *p)
{
        while (p->governor.gait == GAIT_PAUSED) {
                int r = p->tick ? p->tick(p->ctx) : 0;

                if (r != 0)
                        return r;
                yield(p, NAP_US);
                if (!p->governor.urgent)
                        look(p);
        }
        return p->tick ? p->tick(p->ctx) : 0;
}

int pace_gate(Pace *p, uint64_t bytes)
{
        uint64_t now;
        int r = 0;

        if (!p || !p->watching || p->governor.urgent)
                return 0;
        now = now_us();
        switch (p->governor.gait) {
        case GAIT_SLOW:
                yield(p, MIN(now - p->resumed_us, (uint64_t) REST_US));
                break;
        case GAIT_TRICKLE:
                yield(p, bytes * 1000000 / TRICKLE_PER_SEC);
                break;
        default:
                break;
        }
        if (!p->governor.urgent && now >= p->next_look_us) {
                Gait was = p->governor.gait;

                look(p);
                if (p->governor.gait == GAIT_PAUSED)
                        r = stand(p);
                else if (p->governor.gait != was && p->tick)
                        r = p->tick(p->ctx);
        }
        p->resumed_us = now_us();
        return r;
}

void pace_text(const Pace *p, char ret[PACE_TEXT_SIZE])
{
        const Governor *g = p ? &p->governor : NULL;

        if (!g || g->gait == GAIT_FREE)
                ret[0] = 0;
        else
                (void) snprintf(ret, PACE_TEXT_SIZE, "%s: %s pressure %u %%", gait_name(g->gait),
                                pressure_name(g->who), g->percent);
}

uint64_t pace_yielded_us(const Pace *p)
{
        return p ? p->governor.yielded_us : 0;
}

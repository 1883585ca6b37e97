/* SPDX-License-Identifier: MIT */

#include "watchdog.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define CLASS    "/sys/class/watchdog"
#define CONF_MAX (256u * 1024u) /* system.conf as shipped has 3 KiB */
#define RESET_BY_CARD                                                                                        \
        0x20u /* WDIOF_CARDRESET of linux/watchdog.h: the watchdog reset the machine before this boot */

/* --- systemd's configuration --- */

static const struct {
        const char *name;
        uint64_t usec;
} units[] = {
        { "s", 1000000 },       { "sec", 1000000 },      { "second", 1000000 },
        { "seconds", 1000000 }, { "min", 60000000 },     { "m", 60000000 },
        { "minute", 60000000 }, { "minutes", 60000000 }, { "h", 3600000000 },
        { "hr", 3600000000 },   { "hour", 3600000000 },  { "hours", 3600000000 },
        { "d", 86400000000 },   { "day", 86400000000 },  { "days", 86400000000 },
        { "ms", 1000 },         { "msec", 1000 },        { "us", 1 },
        { "usec", 1 },          { "", 1000000 },
};

static int unit_of(const char *s, size_t n, uint64_t *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strlen(units[i].name) == n && memcmp(units[i].name, s, n) == 0) {
                        *ret = units[i].usec;
                        return 0;
                }
        return -EINVAL;
}

int systemd_seconds(const char *text, uint64_t *ret)
{
        uint64_t total = 0;
        bool any = false;

        if (streq(text, "off") || streq(text, "infinity") || streq(text, "no")) {
                *ret = 0;
                return 0;
        }
        for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
                uint64_t n = 0, unit;
                size_t length;

                if (!isdigit((unsigned char) *p))
                        return -EINVAL;
                for (; isdigit((unsigned char) *p); p++)
                        if (__builtin_mul_overflow(n, 10u, &n) ||
                            __builtin_add_overflow(n, (uint64_t) (*p - '0'), &n))
                                return -ERANGE;
                p += strspn(p, " ");
                for (length = 0; isalpha((unsigned char) p[length]); length++)
                        ;
                if (unit_of(p, length, &unit) < 0)
                        return -EINVAL;
                p += length;
                if (__builtin_mul_overflow(n, unit, &n) || __builtin_add_overflow(total, n, &total))
                        return -ERANGE;
                any = true;
        }
        if (!any)
                return -EINVAL;
        *ret = total / 1000000 + (total % 1000000 > 0);
        return 0;
}

static char *trimmed(const char *s, size_t n)
{
        while (n > 0 && isspace((unsigned char) *s)) {
                s++;
                n--;
        }
        while (n > 0 && isspace((unsigned char) s[n - 1]))
                n--;
        return strndup(s, n);
}

/* 1 the line is "key = value" and *ret is the value */
static int take_line(const char *line, size_t n, const char *key, char **ret)
{
        const char *equals = memchr(line, '=', n);
        _cleanup_(free_charp) char *name = NULL;
        char *value;

        if (!equals)
                return 0;
        name = trimmed(line, (size_t) (equals - line));
        if (!name)
                return -ENOMEM;
        if (!streq(name, key))
                return 0;
        value = trimmed(equals + 1, n - (size_t) (equals + 1 - line));
        if (!value)
                return -ENOMEM;
        free(*ret);
        *ret = value;
        return 1;
}

int systemd_ini_get(const char *text, const char *section, const char *key, char **ret)
{
        _cleanup_(free_charp) char *value = NULL;
        bool here = false;
        int r;

        for (const char *line = text; *line;) {
                size_t n = strcspn(line, "\n"), skip = strspn(line, " \t");
                const char *p = line + MIN(skip, n);
                size_t rest = n - MIN(skip, n);

                if (rest > 0 && *p == '[')
                        here = rest >= strlen(section) + 2 && memcmp(p + 1, section, strlen(section)) == 0 &&
                               p[strlen(section) + 1] == ']';
                else if (here && rest > 0 && *p != '#' && *p != ';' &&
                         (r = take_line(p, rest, key, &value)) < 0)
                        return r;
                line += n + (line[n] == '\n');
        }
        if (!value)
                return 0;
        *ret = TAKE(value);
        return 1;
}

static int take_conf(const Env *env, const char *path, Watchdog *w)
{
        _cleanup_(free_charp) char *value = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint64_t seconds;
        int r = env_read(env, path, CONF_MAX, &b);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        r = systemd_ini_get(b.data ? (char *) b.data : "", "Manager", "RuntimeWatchdogSec", &value);
        if (r <= 0)
                return r;
        if (systemd_seconds(value, &seconds) < 0)
                return 0; /* "default" (the driver's own), or nothing that systemd understands either */
        w->has_config = true;
        w->configured = seconds;
        (void) snprintf(w->config, sizeof(w->config), "%s", path);
        return 1;
}

static const char *const conf_dirs[] = { "/etc/systemd", "/run/systemd", "/usr/local/lib/systemd",
                                         "/usr/lib/systemd" };

/* The drop-in folders, the weakest last. A name in a stronger one masks the same name in a weaker one. */
static int drop_ins(const Env *env, char ***ret_names)
{
        for (size_t i = 0; i < ELEMENTSOF(conf_dirs); i++) {
                _cleanup_(free_charp) char *path = str_printf("%s/system.conf.d", conf_dirs[i]);
                _cleanup_(close_fdp) int fd = path ? env_open_dir(env, path) : -ENOMEM;
                _cleanup_(strv_freep) char **names = NULL;

                if (!path || (fd >= 0 && dir_list(fd, ".", &names) == -ENOMEM))
                        return -ENOMEM;
                for (char **n = names; n && *n; n++)
                        if (str_ends(*n, ".conf") && !strv_has(*ret_names, *n) && strv_add(ret_names, *n) < 0)
                                return -ENOMEM;
        }
        return 0;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int take_drop_in(const Env *env, const char *name, Watchdog *w)
{
        for (size_t i = 0; i < ELEMENTSOF(conf_dirs); i++) {
                _cleanup_(free_charp) char *path = str_printf("%s/system.conf.d/%s", conf_dirs[i], name);
                _cleanup_(close_fdp) int fd = path ? env_open_path(env, path, O_PATH, 0) : -ENOMEM;

                if (!path)
                        return -ENOMEM;
                if (fd >= 0)
                        return take_conf(env, path, w);
        }
        return 0;
}

/* One main file, the strongest; then every drop-in by name; then the command line. */
static int read_config(const Env *env, Watchdog *w)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(conf_dirs) && r == 0; i++) {
                _cleanup_(free_charp) char *path = str_printf("%s/system.conf", conf_dirs[i]);
                _cleanup_(close_fdp) int fd = path ? env_open_path(env, path, O_PATH, 0) : -ENOMEM;

                if (!path)
                        return -ENOMEM;
                if (fd < 0)
                        continue;
                r = take_conf(env, path, w);
                break;
        }
        if (r < 0 || (r = drop_ins(env, &names)) < 0)
                return r;
        if (names)
                qsort(names, strv_len(names), sizeof(char *), compare_names);
        for (char **n = names; n && *n; n++)
                if ((r = take_drop_in(env, *n, w)) < 0)
                        return r;
        return 0;
}

static int read_cmdline(const Env *env, Watchdog *w)
{
        static const char *const names[] = { "systemd.watchdog_sec=", "systemd.watchdog-sec=" };
        _cleanup_(free_charp) char *line = NULL;
        _cleanup_(strv_freep) char **words = NULL;
        int r = env_read_line(env, "/proc/cmdline", &line);

        if (r >= 0)
                r = strv_split_words(line, &words);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (char **word = words; word && *word; word++)
                for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                        uint64_t seconds;

                        if (!str_starts(*word, names[i]) ||
                            systemd_seconds(*word + strlen(names[i]), &seconds) < 0)
                                continue;
                        w->has_config = true;
                        w->configured = seconds;
                        (void) snprintf(w->config, sizeof(w->config), "the kernel command line");
                }
        return 0;
}

/* --- the device --- */

static int read_attribute(const Env *env, const char *name, char **ret)
{
        char path[64];
        int r;

        (void) snprintf(path, sizeof(path), CLASS "/watchdog0/%s", name);
        r = env_read_line(env, path, ret);
        return r == -ENOMEM ? r : 0;
}

static void tame(char *s)
{
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        *s = '?';
}

static int read_device(const Env *env, Watchdog *w)
{
        _cleanup_(close_fdp) int class_fd = env_open_dir(env, CLASS), fd = -1;
        _cleanup_(free_charp) char *state = NULL, *timeout = NULL, *identity = NULL, *status = NULL;
        uint64_t bits;

        fd = env_open_dir(env, CLASS "/watchdog0");
        w->present = fd >= 0 ? 1 : class_fd >= 0 ? 0 : -1;
        if (w->present <= 0)
                return 0;
        if (read_attribute(env, "state", &state) < 0 || read_attribute(env, "timeout", &timeout) < 0 ||
            read_attribute(env, "identity", &identity) < 0 || read_attribute(env, "bootstatus", &status) < 0)
                return -ENOMEM;
        if (state)
                w->armed = streq(state, "active");
        if (timeout && parse_u64(timeout, &w->timeout) < 0)
                w->timeout = 0;
        if (identity) {
                (void) snprintf(w->identity, sizeof(w->identity), "%s", identity);
                tame(w->identity);
                w->software = streq(w->identity, "Software Watchdog");
        }
        w->ended_the_last = status && parse_u64(status, &bits) >= 0 && (bits & RESET_BY_CARD);
        return 0;
}

int watchdog_look(const Env *env, Watchdog *ret)
{
        Watchdog w = { .armed = -1 };
        int r;

        if ((r = read_device(env, &w)) < 0 || (r = read_config(env, &w)) < 0 ||
            (r = read_cmdline(env, &w)) < 0)
                return r;
        *ret = w;
        return 0;
}

void watchdog_tell(const Watchdog *w, char *out, size_t size)
{
        const char *name = w->identity[0] ? w->identity : "the hardware watchdog";
        char told[200] = "systemd is not told to hold it (RuntimeWatchdogSec=)", limit[48] = "";

        if (w->has_config && w->configured > 0)
                (void) snprintf(told, sizeof(told), "systemd holds it: %" PRIu64 " s by %s", w->configured,
                                w->config);
        else if (w->has_config)
                (void) snprintf(told, sizeof(told), "systemd is told not to hold it, by %s", w->config);
        if (w->timeout > 0)
                (void) snprintf(limit, sizeof(limit), ", resets after %" PRIu64 " s", w->timeout);

        if (w->present == 0)
                (void) snprintf(out, size, "there is no hardware watchdog: a hang stays a hang");
        else if (w->present < 0)
                (void) snprintf(
                        out, size,
                        "it is not known whether a hardware watchdog is held: a hang may stay a hang");
        else if (w->armed == 0)
                (void) snprintf(out, size, "%s is not armed, so a hang stays a hang: %s", name, told);
        else if (w->armed < 0)
                (void) snprintf(out, size, "it is not known whether %s is armed: %s", name, told);
        else if (w->software)
                (void) snprintf(out, size,
                                "only the kernel's software watchdog is held: it does not end a dead kernel");
        else
                (void) snprintf(out, size, "%s is armed%s", name, limit);
}

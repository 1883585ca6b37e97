/* SPDX-License-Identifier: MIT */

/* One drop-in -> values. A table says what each field may be; a file is tried on a scratch policy first, so that a mistake in
 * its last line does not leave its first ones behind. */

#include "policy/policy.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

/* A year: longer than any release is good for, short enough that no sum of it with a date of this millennium overflows. */
#define DURATION_MAX (366u * 86400u)
#define ATTEMPTS_MAX 10u  /* more first boots of an unproved image are a boot loop with a name */
#define TEXT_MAX     200u /* characters of a reason, a name, a version: they end up in one-line sentences */
#define ADDRESS_MAX  1000u
#define LIST_MAX     1000u /* entries of a skip list: every release of a product for years */
#define WINDOWS_MAX  64u   /* nobody can read more of them */
#define DAY          86400u

typedef struct Row Row;
struct Row {
        const char *object, *key; /* object NULL: at the top */
        PolicyField field;
        int (*take)(const Row *row, const Json *object, Policy *p); /* 0, -EINVAL, -ENOMEM */
        size_t at;                                                  /* of the value in Policy */
        uint64_t min, max;
        const char *const *names;
        const char *rule; /* ends "reboot.timeout must be ..." */
};

static const char *const automation_names[] = {
        [POLICY_AUTO_CHECK] = "check", [POLICY_AUTO_STAGE] = "stage", [POLICY_AUTO_FINALIZE] = "finalize",
        [POLICY_AUTO_FULL] = "full",   [_POLICY_AUTO_MAX] = NULL,
};

static const char *const coordinator_names[] = {
        [POLICY_COORD_NONE] = "none", [POLICY_COORD_KURED] = "kured", [POLICY_COORD_FLEETLOCK] = "fleetlock",
        [POLICY_COORD_HOOK] = "hook", [POLICY_COORD_DBUS] = "dbus",   [_POLICY_COORD_MAX] = NULL,
};

static const char *const day_names[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

const char *policy_automation_name(PolicyAutomation level)
{
        return automation_names[level];
}

const char *policy_coordinator_name(PolicyCoordinator coordinator)
{
        return coordinator_names[coordinator];
}

/* --- texts --- */

/* One line of at least one character, counted as JSON Schema counts them. */
static bool text_good(const char *s, size_t max)
{
        size_t n = 0;

        for (; *s; s++) {
                if ((unsigned char) *s < 0x20 || *s == 0x7f)
                        return false;
                n += ((unsigned char) *s & 0xc0) != 0x80;
        }
        return n > 0 && n <= max;
}

static bool made_of(const char *s, const char *more)
{
        for (; *s; s++)
                if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') && !(*s >= '0' && *s <= '9') &&
                    !strchr(more, *s))
                        return false;
        return true;
}

static int put_text(char **at, const char *s)
{
        char *copy = s ? strdup(s) : NULL;

        if (s && !copy)
                return -ENOMEM;
        free(*at);
        *at = copy;
        return 0;
}

/* Absent or null: NULL. */
static int take_line(const Json *object, const char *key, size_t max, char **at)
{
        const char *s = json_get_str(object, key);

        if (json_get(object, key) && (!s || !text_good(s, max)))
                return -EINVAL;
        return put_text(at, s);
}

static int take_text(const Row *row, const Json *object, Policy *p)
{
        return take_line(object, row->key, row->max, (char **) ((char *) p + row->at));
}

static int take_url(const Row *row, const Json *object, Policy *p)
{
        const char *s = json_get_str(object, row->key);

        if (s && !str_starts(s, "http://") && !str_starts(s, "https://"))
                return -EINVAL;
        return take_text(row, object, p);
}

/* FleetLock's own rule for groups; 2. in the protocol */
static int take_group(const Row *row, const Json *object, Policy *p)
{
        const char *s = json_get_str(object, row->key);

        return s && !made_of(s, ".-") ? -EINVAL : take_text(row, object, p);
}

static int take_path(const Row *row, const Json *object, Policy *p)
{
        const char *s = json_get_str(object, row->key);

        return s && *s != '/' ? -EINVAL : take_text(row, object, p);
}

/* --- numbers --- */

static int take_number(const Row *row, const Json *object, Policy *p)
{
        const Policy fallback = POLICY_DEFAULT;
        unsigned *at = (unsigned *) (void *) ((char *) p + row->at);
        uint64_t v = *(const unsigned *) (const void *) ((const char *) &fallback + row->at);
        int r = json_get_u64(object, row->key, &v);

        if (r < 0 || (r > 0 && (v < row->min || v > row->max)))
                return -EINVAL;
        *at = (unsigned) v;
        return 0;
}

static int take_bytes(const Row *row, const Json *object, Policy *p)
{
        uint64_t v = 0;

        if (json_get_u64(object, row->key, &v) < 0)
                return -EINVAL;
        *(uint64_t *) (void *) ((char *) p + row->at) = v;
        return 0;
}

static int take_duration(const Row *row, const Json *object, Policy *p)
{
        const Policy fallback = POLICY_DEFAULT;
        uint64_t v = *(const uint64_t *) (const void *) ((const char *) &fallback + row->at);

        if (json_get_duration(object, row->key, &v) < 0 || v > DURATION_MAX)
                return -EINVAL;
        *(uint64_t *) (void *) ((char *) p + row->at) = v;
        return 0;
}

static int take_name(const Row *row, const Json *object, Policy *p)
{
        const Policy fallback = POLICY_DEFAULT;
        unsigned v = *(const unsigned *) (const void *) ((const char *) &fallback + row->at);
        const char *s = json_get_str(object, row->key);

        if (json_get(object, row->key)) {
                for (v = 0; row->names[v] && !(s && streq(row->names[v], s));)
                        v++;
                if (!row->names[v])
                        return -EINVAL;
        }
        *(unsigned *) (void *) ((char *) p + row->at) = v;
        return 0;
}

/* --- hold, skip, require --- */

static int take_hold(const Row *row, const Json *object, Policy *p)
{
        const Json *hold = json_get(object, row->key);
        uint64_t until = UINT64_MAX;
        int r;

        if (hold && (!json_is_object(hold) || json_get_time(hold, "until", &until) < 0))
                return -EINVAL;
        if ((r = take_line(hold, "reason", TEXT_MAX, &p->hold_reason)) < 0 ||
            (r = take_line(hold, "by", TEXT_MAX, &p->hold_by)) < 0)
                return r;
        p->held = hold;
        p->hold_until = hold ? until : 0;
        return 0;
}

static int read_list(const Json *array, size_t max, char ***ret)
{
        _cleanup_(strv_freep) char **list = NULL;

        if (array && (!json_is_array(array) || json_len(array) > max))
                return -EINVAL;
        for (size_t i = 0; i < json_len(array); i++) {
                const char *s = json_str(json_at(array, i));

                if (!s || !text_good(s, TEXT_MAX))
                        return -EINVAL;
                if (!strv_has(list, s) && strv_add(&list, s) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE(list);
        return 0;
}

/* A list replaces; {"add": [...], "remove": [...]} edits what earlier files say, so that a vendor's list may go on growing
 * under an operator's exceptions. */
static int take_skip(const Row *row, const Json *object, Policy *p)
{
        const Json *skip = json_get(object, row->key);
        _cleanup_(strv_freep) char **add = NULL, **drop = NULL, **list = NULL;
        bool edit = json_is_object(skip);
        int r;

        if ((r = read_list(edit ? json_get(skip, "add") : skip, LIST_MAX, &add)) < 0 ||
            (r = read_list(edit ? json_get(skip, "remove") : NULL, LIST_MAX, &drop)) < 0)
                return r;
        for (char **s = edit ? p->skip : NULL; s && *s; s++)
                if (!strv_has(drop, *s) && strv_add(&list, *s) < 0)
                        return -ENOMEM;
        for (char **s = add; s && *s; s++)
                if (!strv_has(list, *s) && strv_add(&list, *s) < 0)
                        return -ENOMEM;
        strv_free(p->skip);
        p->skip = TAKE(list);
        return 0;
}

static int take_require(const Row *row, const Json *object, Policy *p)
{
        char **list = NULL;
        int r = read_list(json_get(object, row->key), LIST_MAX, &list);

        if (r < 0)
                return r;
        strv_free(p->require);
        p->require = list;
        return 0;
}

/* --- windows --- */

/* "22:00"; "24:00" is the end of the day */
static int take_clock(const Json *window, const char *key, bool end, uint32_t *ret_sec)
{
        const char *s = json_get_str(window, key);
        unsigned h, m;

        if (!s || strlen(s) != 5 || s[2] != ':' || strspn(s, "0123456789") != 2 ||
            strspn(s + 3, "0123456789") != 2)
                return -EINVAL;
        h = (unsigned) (s[0] - '0') * 10 + (unsigned) (s[1] - '0');
        m = (unsigned) (s[3] - '0') * 10 + (unsigned) (s[4] - '0');
        if (m > 59 || h > 24 || (h == 24 && (!end || m > 0)))
                return -EINVAL;
        *ret_sec = h * 3600 + m * 60;
        return 0;
}

static int take_days(const Json *window, unsigned *ret)
{
        const Json *days = json_get(window, "days");
        unsigned set = 0;

        if (!days) {
                *ret = 0x7f;
                return 0;
        }
        if (json_len(days) == 0) /* not a list, or one that would never open */
                return -EINVAL;
        json_foreach (d, days) {
                size_t n = 0;

                while (n < ELEMENTSOF(day_names) && !streq0(json_str(d), day_names[n]))
                        n++;
                if (n == ELEMENTSOF(day_names))
                        return -EINVAL;
                set |= 1u << n;
        }
        *ret = set;
        return 0;
}

/* "Europe/Berlin": a path below /usr/share/zoneinfo that cannot leave it */
static bool zone_name_good(const char *s)
{
        return strlen(s) <= 64 && made_of(s, "/_+-") && *s != '/' && *s != '-' && *s && !str_ends(s, "/") &&
               !strstr(s, "//");
}

static int take_window(const Json *window, PolicyWindow *ret)
{
        const char *zone = json_get_str(window, "timezone");
        PolicyWindow w = { 0 };
        uint32_t end;

        if (!json_is_object(window) || take_days(window, &w.days) < 0 ||
            take_clock(window, "start", false, &w.start_sec) < 0 ||
            take_clock(window, "end", true, &end) < 0 ||
            (json_get(window, "timezone") && (!zone || !zone_name_good(zone))))
                return -EINVAL;
        w.length_sec = end > w.start_sec ? end - w.start_sec : end + DAY - w.start_sec;
        *ret = w;
        return put_text(&ret->timezone, zone);
}

static void windows_free(PolicyWindow *windows, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(windows[i].timezone);
        free(windows);
}

static int take_windows(const Row *row, const Json *object, Policy *p)
{
        const Json *list = json_get(object, row->key);
        size_t n = json_len(list);
        PolicyWindow *windows;

        if ((list && !json_is_array(list)) || n > WINDOWS_MAX)
                return -EINVAL;
        windows = calloc(n + 1, sizeof(*windows));
        if (!windows)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = take_window(json_at(list, i), &windows[i]);

                if (r < 0) {
                        windows_free(windows, n);
                        return r;
                }
        }
        windows_free(p->windows, p->n_windows);
        p->windows = windows;
        p->n_windows = n;
        return 0;
}

/* --- the table --- */

#define AT(member) offsetof(Policy, member)
#define PERCENT    "must be a number from 0 to 100"
#define DURATION   "must be a duration of at most a year, like \"15m\" or \"1h30m\""
#define LINE       "must be a line of text"

static const Row rows[_POLICY_FIELD_MAX] = {
        { NULL, "channel", POLICY_FIELD_CHANNEL, take_text, AT(channel), 0, TEXT_MAX, NULL, LINE },
        { NULL, "automation", POLICY_FIELD_AUTOMATION, take_name, AT(automation), 0, 0, automation_names,
          "must be \"check\", \"stage\", \"finalize\" or \"full\"" },
        { NULL, "pin", POLICY_FIELD_PIN, take_text, AT(pin), 0, TEXT_MAX, NULL, "must be a version" },
        { NULL, "skip", POLICY_FIELD_SKIP, take_skip, 0, 0, 0, NULL,
          "must be a list of versions, or {\"add\": [...], \"remove\": [...]}" },
        { NULL, "hold", POLICY_FIELD_HOLD, take_hold, 0, 0, 0, NULL,
          "must be an object: until a time like \"2026-11-04T06:00:00Z\", reason and by lines of text" },
        { NULL, "minimumAge", POLICY_FIELD_MINIMUM_AGE, take_duration, AT(minimum_age_sec), 0, 0, NULL,
          DURATION },
        { "rollout", "percent", POLICY_FIELD_ROLLOUT_PERCENT, take_number, AT(rollout_percent), 0, 100, NULL,
          PERCENT },
        { "rollout", "ramp", POLICY_FIELD_ROLLOUT_RAMP, take_duration, AT(rollout_ramp_sec), 0, 0, NULL,
          DURATION },
        { NULL, "windows", POLICY_FIELD_WINDOWS, take_windows, 0, 0, 0, NULL,
          "must be a list of {\"days\": [\"sat\"], \"start\": \"22:00\", \"end\": \"04:00\", \"timezone\": "
          "\"Europe/Berlin\"}" },
        { NULL, "attempts", POLICY_FIELD_ATTEMPTS, take_number, AT(attempts), 1, ATTEMPTS_MAX, NULL,
          "must be a number from 1 to 10" },
        { NULL, "soak", POLICY_FIELD_SOAK, take_duration, AT(soak_sec), 0, 0, NULL, DURATION },
        { NULL, "deadline", POLICY_FIELD_DEADLINE, take_duration, AT(deadline_sec), 0, 0, NULL, DURATION },
        { NULL, "require", POLICY_FIELD_REQUIRE, take_require, 0, 0, 0, NULL,
          "must be a list of names of guarantees" },
        { NULL, "bandwidth", POLICY_FIELD_BANDWIDTH, take_bytes, AT(bandwidth), 0, 0, NULL,
          "must be a number of bytes a second" },
        { "pressure", "io", POLICY_FIELD_PRESSURE_IO, take_number, AT(pressure.io), 0, 100, NULL, PERCENT },
        { "pressure", "cpu", POLICY_FIELD_PRESSURE_CPU, take_number, AT(pressure.cpu), 0, 100, NULL,
          PERCENT },
        { "pressure", "memory", POLICY_FIELD_PRESSURE_MEMORY, take_number, AT(pressure.memory), 0, 100, NULL,
          PERCENT },
        { "reboot", "coordinator", POLICY_FIELD_REBOOT_COORDINATOR, take_name, AT(reboot.coordinator), 0, 0,
          coordinator_names, "must be \"none\", \"kured\", \"fleetlock\", \"hook\" or \"dbus\"" },
        { "reboot", "url", POLICY_FIELD_REBOOT_URL, take_url, AT(reboot.url), 0, ADDRESS_MAX, NULL,
          "must be an http or https address" },
        { "reboot", "group", POLICY_FIELD_REBOOT_GROUP, take_group, AT(reboot.group), 0, TEXT_MAX, NULL,
          "must be a name of letters, digits, dots and hyphens" },
        { "reboot", "id", POLICY_FIELD_REBOOT_ID, take_text, AT(reboot.id), 0, TEXT_MAX, NULL, LINE },
        { "reboot", "hook", POLICY_FIELD_REBOOT_HOOK, take_path, AT(reboot.hook), 0, ADDRESS_MAX, NULL,
          "must be the absolute path of a program" },
        { "reboot", "timeout", POLICY_FIELD_REBOOT_TIMEOUT, take_duration, AT(reboot.timeout_sec), 0, 0, NULL,
          DURATION },
};

const char *policy_field_name(PolicyField field)
{
        static const char *const nested[_POLICY_FIELD_MAX] = {
                [POLICY_FIELD_ROLLOUT_PERCENT] = "rollout.percent",
                [POLICY_FIELD_ROLLOUT_RAMP] = "rollout.ramp",
                [POLICY_FIELD_PRESSURE_IO] = "pressure.io",
                [POLICY_FIELD_PRESSURE_CPU] = "pressure.cpu",
                [POLICY_FIELD_PRESSURE_MEMORY] = "pressure.memory",
                [POLICY_FIELD_REBOOT_COORDINATOR] = "reboot.coordinator",
                [POLICY_FIELD_REBOOT_URL] = "reboot.url",
                [POLICY_FIELD_REBOOT_GROUP] = "reboot.group",
                [POLICY_FIELD_REBOOT_ID] = "reboot.id",
                [POLICY_FIELD_REBOOT_HOOK] = "reboot.hook",
                [POLICY_FIELD_REBOOT_TIMEOUT] = "reboot.timeout",
        };

        return nested[field] ? nested[field] : rows[field].key;
}

static bool is_object(const char *key)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].object && streq(rows[i].object, key))
                        return true;
        return false;
}

static int take_all(const Json *j, const char *what, Policy *p, unsigned file, Why *why)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const Row *row = &rows[i];
                const Json *object = row->object ? json_get(j, row->object) : j;
                int r;

                /* "rollout": null takes back all of it */
                if (object ? !json_has(object, row->key) : !json_has(j, row->object))
                        continue;
                r = row->take(row, object, p);
                if (r == -EINVAL)
                        return fail(why, r, WHY_USAGE, "bad-policy", "%s: %s %s", what,
                                    policy_field_name(row->field), row->rule);
                if (r < 0)
                        return r;
                p->from[row->field] = file;
        }
        return 0;
}

typedef struct Unknown {
        const char *what, *object;
        const Json *root;
        Policy *policy;
} Unknown;

static int note_unknown(void *ctx, const char *key, const Json *value _unused_)
{
        const Unknown *u = ctx;
        char line[512];

        if (!u->object && is_object(key)) {
                Unknown inner = { u->what, key, NULL, u->policy };
                return json_each(json_get(u->root, key), note_unknown, &inner);
        }
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (streq(rows[i].key, key) && streq0(rows[i].object, u->object))
                        return 0;
        (void) snprintf(line, sizeof(line), "%s: %s%s%.100s", u->what, u->object ? u->object : "",
                        u->object ? "." : "", key);
        return strv_len(u->policy->unknown) >= LIST_MAX ? 0 : strv_add(&u->policy->unknown, line);
}

static int check_objects(const Json *j, const char *what, Why *why)
{
        static const char *const objects[] = { "rollout", "pressure", "reboot" };

        if (!json_is_object(j))
                return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "%s: not a JSON object", what);
        for (size_t i = 0; i < ELEMENTSOF(objects); i++)
                if (json_get(j, objects[i]) && !json_is_object(json_get(j, objects[i])))
                        return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "%s: %s must be an object", what,
                                    objects[i]);
        return 0;
}

int policy_parse(const void *data, size_t size, const char *what, Policy *p, Why *why)
{
        _cleanup_(policy_done) Policy scratch = POLICY_DEFAULT;
        _cleanup_(json_unrefp) Json *j = NULL;
        Unknown unknown;
        int r;

        r = json_parse(data, size, JSON_COMMENTS, JSON_DEPTH_MAX, what, WHY_USAGE, &j, why);
        if (r < 0)
                return r;
        if ((r = check_objects(j, what, why)) < 0 || (r = take_all(j, what, &scratch, 0, why)) < 0)
                return r;
        if ((r = strv_add(&p->files, what)) < 0)
                return r;
        unknown = (Unknown){ what, NULL, j, p };
        if (json_each(j, note_unknown, &unknown) < 0)
                return -ENOMEM;
        return take_all(j, what, p, (unsigned) strv_len(p->files), why);
}

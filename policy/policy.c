/* SPDX-License-Identifier: MIT */

/* From files to one Policy. A host whose rules are partly unreadable is not a host without rules: what could not be used is
 * remembered in ->broken, and the doors stay shut for whoever acts unattended. */

#include "policy/policy.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "policy/load.h"
#include "policy/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define ZONE_FILE_MAX (64u * 1024u) /* the fattest one of tzdata has 4 KiB */
#define ZONE_FOLDER   "/usr/share/zoneinfo/"

void policy_done(Policy *p)
{
        free(p->channel);
        free(p->pin);
        strv_free(p->skip);
        free(p->hold_reason);
        free(p->hold_by);
        for (size_t i = 0; i < p->n_windows; i++)
                free(p->windows[i].timezone);
        free(p->windows);
        free(p->reboot.url);
        free(p->reboot.group);
        free(p->reboot.id);
        free(p->reboot.hook);
        strv_free(p->require);
        strv_free(p->files);
        strv_free(p->unknown);
        free(p->broken);
        for (size_t i = 0; i < p->n_zones; i++)
                (void) policy_zone_free(p->zones[i]);
        free(p->zones);
        *p = (Policy){ 0 };
}

const char *policy_source(const Policy *p, PolicyField field)
{
        return p->from[field] > 0 ? p->files[p->from[field] - 1] : NULL;
}

/* The first sentence is kept, here and for the caller. */
static int note_broken(Policy *p, const Why *said, Why *why)
{
        if (!p->broken && !(p->broken = strdup(said->text)))
                return -ENOMEM;
        if (why && why->kind == WHY_NONE)
                *why = *said;
        return 0;
}

/* --- the drop-ins --- */

/* A name that went away between listing and reading (a drop-in being replaced by hand) is no rule that is hidden from us; a
 * link that leads nowhere is. */
static bool is_gone(const Env *env, const char *path)
{
        _cleanup_(close_fdp) int fd = env_open_path(env, path, O_PATH | O_NOFOLLOW, 0);

        return fd == -ENOENT;
}

static int load_file(const Env *env, const char *path, Policy *p, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Why said = { 0 };
        int r = env_read(env, path, POLICY_FILE_MAX, &b);

        if (r == -ENOENT && is_gone(env, path))
                return 0;
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                (void) fail_errno(&said, r, WHY_HOST, "%s", path);
        else
                r = policy_parse(b.data ? (const void *) b.data : "", b.size, path, p, &said);
        if (r >= 0 || r == -ENOMEM)
                return r;
        return note_broken(p, &said, why);
}

/* text instead of the operator's file, at its place in the order. */
static int load_text(const char *text, Policy *p, Why *why)
{
        Why said = { 0 };
        int r = policy_parse(text, strlen(text), POLICY_OPERATOR_FILE, p, &said);

        return r >= 0 || r == -ENOMEM ? r : note_broken(p, &said, why);
}

/* Sorted; untouched when there is no such folder. */
static int list_folder(const Env *env, const char *folder, char ***ret)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, folder);

        if (fd == -ENOENT)
                return 0;
        return fd < 0 ? fd : dir_list(fd, ".", ret);
}

static int load_folder(const Env *env, const char *folder, const char *operator_text, Policy *p, Why *why)
{
        const char *text = streq(folder, POLICY_OPERATOR_DIR) ? operator_text : NULL;
        _cleanup_(strv_freep) char **names = NULL;
        Why said = { 0 };
        int r;

        r = list_folder(env, folder, &names);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                (void) fail_errno(&said, r, WHY_HOST, "%s", folder);
                r = note_broken(p, &said, why);
        }
        for (char **n = names; r >= 0 && n && *n; n++) {
                _cleanup_(free_charp) char *path = str_printf("%s/%s", folder, *n);

                if (!path)
                        return -ENOMEM;
                if (text && strcmp(*n, POLICY_OPERATOR_NAME) >= 0) {
                        r = load_text(text, p, why);
                        text = NULL;
                        if (r < 0 || streq(*n, POLICY_OPERATOR_NAME))
                                continue;
                }
                if (str_ends(*n, ".json"))
                        r = load_file(env, path, p, why);
        }
        return r >= 0 && text ? load_text(text, p, why) : r;
}

/* --- zones --- */

/* name NULL: the host's own, which is UTC where nothing is set (localtime(5)). 1 *ret is new, 0 it was there, -EINVAL and a
 * sentence when it cannot be had. */
static int read_zone(const Env *env, const char *name, PolicyZone **ret, Why *why)
{
        _cleanup_(free_charp) char *path =
                name ? str_printf("%s%s", ZONE_FOLDER, name) : strdup("/etc/localtime");
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        if (!path)
                return -ENOMEM;
        /* known without tzdata, which a small image may lack */
        if (name && (streq(name, "UTC") || streq(name, "Etc/UTC")))
                return policy_zone_utc(name, ret);
        r = env_read(env, path, ZONE_FILE_MAX, &b);
        if (r == -ENOENT && !name && is_gone(env, path))
                return policy_zone_utc("UTC", ret);
        if (r == -ENOMEM)
                return r;
        if (r == -ENOENT && name) {
                (void) fail(why, -EINVAL, WHY_USAGE, "bad-policy", "policy: timezone \"%s\": no such file %s",
                            name, path);
                return fail_hint(why, -EINVAL,
                                 "write it as in \"Europe/Berlin\", and see that tzdata is there");
        }
        if (r < 0)
                return fail_errno(why, -EINVAL, WHY_HOST, "%s", path);
        return policy_zone_parse(b.data, b.size, name ? name : "localtime", ret, why);
}

static int add_zone(Policy *p, PolicyZone *zone)
{
        PolicyZone **more = realloc(p->zones, (p->n_zones + 1) * sizeof(*more));

        if (!more) {
                (void) policy_zone_free(zone);
                return -ENOMEM;
        }
        p->zones = more;
        p->zones[p->n_zones++] = zone;
        return 0;
}

static int load_zones(const Env *env, Policy *p, Why *why)
{
        for (size_t i = 0; i < p->n_windows; i++) {
                PolicyWindow *w = &p->windows[i];
                PolicyZone *zone = NULL;
                Why said = { 0 };
                int r;

                for (size_t k = 0; k < i && !w->zone; k++)
                        if (streq0(p->windows[k].timezone, w->timezone))
                                w->zone = p->windows[k].zone;
                if (w->zone)
                        continue;
                r = read_zone(env, w->timezone, &zone, &said);
                if (r >= 0)
                        r = add_zone(p, zone);
                if (r == -ENOMEM || (r < 0 && (r = note_broken(p, &said, why)) < 0))
                        return r;
                w->zone = zone;
        }
        return 0;
}

/* --- what only all files together can tell --- */

static int check_whole(Policy *p, Why *why)
{
        Why said = { 0 };

        /* Who shortens the deadline means the trial to be short; only who asks for both can ask for nonsense. */
        if (p->deadline_sec > 0 && p->from[POLICY_FIELD_SOAK] == 0)
                p->soak_sec = MIN(p->soak_sec, p->deadline_sec / 3);
        if (p->reboot.coordinator == POLICY_COORD_FLEETLOCK && !p->reboot.url)
                (void) fail(&said, -EINVAL, WHY_USAGE, "bad-policy",
                            "policy: reboot.coordinator is \"fleetlock\" but reboot.url is missing");
        else if (p->reboot.coordinator == POLICY_COORD_HOOK && !p->reboot.hook)
                (void) fail(&said, -EINVAL, WHY_USAGE, "bad-policy",
                            "policy: reboot.coordinator is \"hook\" but reboot.hook is missing");
        else if (p->deadline_sec > 0 && p->soak_sec >= p->deadline_sec)
                (void) fail(&said, -EINVAL, WHY_USAGE, "bad-policy",
                            "policy: soak (%llu s) is not shorter than deadline (%llu s): no update would "
                            "ever be kept",
                            (unsigned long long) p->soak_sec, (unsigned long long) p->deadline_sec);
        return said.kind == WHY_NONE ? 0 : note_broken(p, &said, why);
}

int policy_load_with(const Env *env, const char *operator_text, Policy *ret, Why *why)
{
        static const char *const folders[] = { "/usr/lib/gybe/policy.d", POLICY_OPERATOR_DIR,
                                               "/run/gybe/policy.d" };
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                r = load_folder(env, folders[i], operator_text, &p, why);
                if (r < 0)
                        return r;
        }
        if ((r = load_zones(env, &p, why)) < 0 || (r = check_whole(&p, why)) < 0)
                return r;
        *ret = p;
        p = (Policy){ 0 };
        return 0;
}

int policy_load(const Env *env, Policy *ret, Why *why)
{
        return policy_load_with(env, NULL, ret, why);
}

int policy_machine_id(const Env *env, char **ret)
{
        _cleanup_(free_charp) char *line = NULL;
        char id[33];
        int r = env_read_line(env, "/etc/machine-id", &line);

        *ret = NULL;
        /* "uninitialized" and an empty file (machine-id(5)) are no identity */
        if (r < 0 || hex_normalize(line, 32, id) < 0)
                return r == -ENOMEM ? r : 0;
        *ret = strdup(id);
        return *ret ? 0 : -ENOMEM;
}

/* SPDX-License-Identifier: MIT */

/* From the inert names to the real ones and back. Addons are under their final name before the UKI is, and leave it after:
 * at no moment is there a UKI that the loader lists without the addon that says where its /usr is. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <sys/stat.h>

/* Which of the four names exist, as spelled on the ESP. */
typedef struct Names {
        int fd;
        char *staged, *staged_addons, *final, *final_addons;
} Names;

static void names_done(Names *n)
{
        close_fdp(&n->fd);
        free(n->staged);
        free(n->staged_addons);
        free(n->final);
        free(n->final_addons);
}

static int names_read(SdBoot *b, const char *entry, Names *n, char addons[ENTRY_ADDONS_MAX])
{
        int r;

        entry_addons_dir(entry, addons);
        n->fd = esp_dir(b->esp.fd, ESP_ENTRIES);
        if (n->fd < 0)
                return n->fd;
        if ((r = esp_find(n->fd, ESP_STAGED, &n->staged)) < 0 ||
            (r = esp_find(n->fd, ESP_STAGED_D, &n->staged_addons)) < 0 ||
            (r = esp_find(n->fd, entry, &n->final)) < 0 ||
            (r = esp_find(n->fd, addons, &n->final_addons)) < 0)
                return r;
        return 0;
}

static int refuse_names(const char *entry, const char *text, Why *why)
{
        (void) fail(why, -EUCLEAN, WHY_HOST, "half-published", "%s: %s", entry, text);
        return fail_hint(why, -EUCLEAN, "stage the update again");
}

/* A power cut inside a rename can leave a file under both names, and on FAT the two share their clusters: removing either
 * would take the other's bytes. Only fsck can tell them apart; afterwards the shorter one is the one it cut. */
static int resolve_twins(SdBoot *b, Names *n, Why *why)
{
        struct stat staged, final;

        if (fstatat(n->fd, n->staged, &staged, 0) < 0 || fstatat(n->fd, n->final, &final, 0) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s on the ESP", n->final);
        if (b->esp.vfat && staged.st_size == final.st_size) {
                (void) fail(
                        why, -EEXIST, WHY_HOST, "esp-damaged",
                        "ESP %s: %s and %s both exist; a power cut may have left them sharing their contents",
                        b->esp.path, n->staged, n->final);
                return fail_hint(why, -EEXIST,
                                 "run fsck.vfat on the unmounted ESP, or reboot, and try again");
        }
        if (final.st_size >= staged.st_size) {
                int r = file_remove(n->fd, n->staged);

                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "removing %s", n->staged);
                free(TAKE(n->staged));
                return 0;
        }
        return 0; /* the rename below replaces the cut one */
}

static int publish_addons(SdBoot *b, Names *n, const char *addons, const char *entry, Why *why)
{
        int r = 0;

        if (!n->staged_addons)
                return 0;
        if (n->final_addons) {
                if (b->esp.vfat)
                        return refuse_names(entry, "its addon folder exists under both names", why);
                r = esp_remove(n->fd, n->final_addons); /* no UKI of this name: an orphan */
        }
        if (r >= 0)
                r = esp_rename(n->fd, n->staged_addons, addons);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "publishing the addons of %s", entry) : 0;
}

/* A default that is found by order or by pattern would change its mind when the new name appears. */
static int check_pinned(SdBoot *b, const char *entry, Why *why)
{
        _cleanup_(view_done) View v = { 0 };
        int r = view_load(b, &v, why);

        if (r < 0)
                return r;
        if (v.fallback && !boot_name_equal(v.fallback->name, entry) &&
            (v.variable ? view_names(v.variable, v.fallback) : view_names(v.conf_default, v.fallback)))
                return 0;
        return fail(why, -EUCLEAN, WHY_HOST, "default",
                    "%s: not published: no boot default names another entry by its name", entry);
}

int sd_publish(Boot *boot, const char *entry, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(names_done) Names n = { .fd = -1 };
        char addons[ENTRY_ADDONS_MAX];
        EntryName parsed;
        int r;

        if (entry_name_parse(entry, ".efi", &parsed) < 0 || !parsed.managed || parsed.counted)
                return fail(why, -EINVAL, WHY_HOST, "entry-name", "%s: not a name that this program gives",
                            entry);
        r = names_read(b, entry, &n, addons);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", ESP_ENTRIES);
        if (n.staged && n.final && (r = resolve_twins(b, &n, why)) < 0)
                return r;
        if (!n.staged && !n.final)
                return refuse_names(entry, "nothing is staged under this name", why);
        if (n.final && !n.staged && n.staged_addons)
                return refuse_names(entry, "the UKI has its final name, but its addons do not", why);
        if (!n.staged_addons && !n.final_addons)
                return refuse_names(entry, "its addons are missing", why);
        if ((n.staged && (r = check_pinned(b, entry, why)) < 0) ||
            (r = publish_addons(b, &n, addons, entry, why)) < 0)
                return r;
        if (n.staged)
                r = esp_rename(n.fd, n.staged, n.final ? n.final : entry);
        if (r >= 0 && fsync(n.fd) < 0)
                r = -errno;
        if (r >= 0)
                r = esp_sync(&b->esp);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "publishing %s", entry) : 0;
}

int sd_unpublish(Boot *boot, const char *entry, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(names_done) Names n = { .fd = -1 };
        _cleanup_(view_done) View v = { 0 };
        char addons[ENTRY_ADDONS_MAX];
        const EspEntry *e;
        EntryName parsed;
        int r;

        if (entry_name_parse(entry, ".efi", &parsed) < 0)
                return fail(why, -EINVAL, WHY_HOST, "entry-name", "%s: not the name of a UKI", entry);
        if ((r = view_load(b, &v, why)) < 0)
                return r;
        e = esp_entry_find(&v.entries, entry);
        if (e && view_protects(&v, e))
                return fail(why, -EBUSY, WHY_HOST, "entry-in-use",
                            "%s: it runs, or a boot default names it; it stays", e->name);
        r = names_read(b, e ? e->name : entry, &n, addons);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", ESP_ENTRIES);
        if (n.staged && n.final && (r = resolve_twins(b, &n, why)) < 0)
                return r;
        if (n.final)
                r = esp_rename(n.fd, n.final, ESP_STAGED);
        if (r >= 0 && n.final_addons && !n.staged_addons)
                r = esp_rename(n.fd, n.final_addons, ESP_STAGED_D);
        else if (r >= 0 && n.final_addons && (n.final || n.staged))
                r = b->esp.vfat ? -EUCLEAN
                                : esp_remove(n.fd, n.final_addons); /* published again over an old folder */
        if (r >= 0)
                r = esp_sync(&b->esp);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "taking %s back", entry) : 0;
}

int sd_write_intent(Boot *boot, const char *json, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(close_fdp) int fd = esp_make_dir(b->esp.fd, GYBE_DIR);
        int r;

        r = fd < 0 ? fd : esp_replace(fd, "intent.json", json, strlen(json));
        return r < 0 ? fail_errno(why, r, WHY_HOST, "writing %s/intent.json on the ESP", GYBE_DIR) : 0;
}

int sd_remove_intent(Boot *boot, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, GYBE_DIR);
        int r;

        if (fd == -ENOENT)
                return 0;
        r = fd < 0 ? fd : esp_remove(fd, "intent.json");
        return r < 0 ? fail_errno(why, r, WHY_HOST, "removing %s/intent.json on the ESP", GYBE_DIR) : 0;
}

#define INTENT_MAX (16u * 1024u) /* a dozen short fields; whatever is longer was not written by us */

int sd_read_intent(Boot *boot, Bytes *ret)
{
        _cleanup_(close_fdp) int dir = esp_dir(sd(boot)->esp.fd, GYBE_DIR);
        _cleanup_(close_fdp) int fd = dir < 0 ? -1 : esp_open_file(dir, "intent.json");
        int r = fd < 0 ? 0 : fd_read_all(fd, INTENT_MAX, ret);

        return r == -ENOMEM ? r : fd >= 0 && r >= 0;
}

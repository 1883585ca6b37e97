/* SPDX-License-Identifier: MIT */

/* Which slot runs. Writing into the running one is the worst thing that this program could do, so nobody is believed
 * alone who may have guessed, nobody is believed who stutters, and whoever speaks must say the same:
 *
 *   the kernel command line   which partition /usr was to be opened from, with which root hash
 *   device-mapper             which partition /dev/mapper/usr lies on now (a real machine only)
 *   /run/acl                  what the initrd concluded; it says when it had only guessed */

#include "base/file.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/cosi.h"
#include "slot/running.h"

#include <errno.h>
#include <stdio.h>

#define CMDLINE_MAX       (64u * 1024u)
#define ACTIVE_ENV_MAX    4096u
#define UNCLEAR(why, ...) fail(why, -EBADMSG, WHY_HOST, "running-unknown", __VA_ARGS__)

/* Arguments that decide what is opened: each may be there once. Which one of two counts is decided elsewhere, and
 * differently by different readers. */
enum {
        ARG_USR_DATA,
        ARG_USR_HASH,
        ARG_USR_OPTIONS,
        ARG_USRHASH,
        ARG_ACL_SLOT,
        ARG_ACL_SIGNATURE,
        ARG_VERITY_USR,
        ARG_VERITY_USRHASH,
        ARG_MOUNT_USR, /* counted only where it names a partition; mount.usr=/dev/mapper/usr says nothing */
        _ARG_MAX,
};

static const char *const arg_names[_ARG_MAX] = {
        [ARG_USR_DATA] = "systemd.verity_usr_data=",
        [ARG_USR_HASH] = "systemd.verity_usr_hash=",
        [ARG_USR_OPTIONS] = "systemd.verity_usr_options=",
        [ARG_USRHASH] = "usrhash=",
        [ARG_ACL_SLOT] = "acl.slot=",
        [ARG_ACL_SIGNATURE] = "acl.verity_usr_signature=",
        [ARG_VERITY_USR] = "verity.usr=",
        [ARG_VERITY_USRHASH] = "verity.usrhash=",
        [ARG_MOUNT_USR] = "mount.usr=",
};

/* "PARTUUID=7130C94A-..." or "/dev/disk/by-partuuid/7130c94a-...", in lower case. */
static bool partuuid_of(const char *value, char ret[37])
{
        static const char *const prefixes[] = { "PARTUUID=", "/dev/disk/by-partuuid/" };
        uint8_t uuid[16];

        for (size_t i = 0; value && i < ELEMENTSOF(prefixes); i++)
                if (str_starts(value, prefixes[i]) &&
                    uuid_parse_text(value + strlen(prefixes[i]), uuid) >= 0) {
                        uuid_format_text(uuid, ret);
                        return true;
                }
        return false;
}

static SlotId slot_of_partuuid(const SlotLayout *layout, const char *partuuid)
{
        for (unsigned i = 0; layout && i < _SLOT_MAX; i++)
                if (str_fold_cmp(layout->slot[i].data->partuuid, partuuid) == 0)
                        return (SlotId) i;
        return _SLOT_INVALID;
}

static int collect(char *const *words, const char *args[_ARG_MAX], Why *why)
{
        char ignored[37];

        for (; *words; words++)
                for (unsigned i = 0; i < _ARG_MAX; i++) {
                        const char *value = *words + strlen(arg_names[i]);

                        if (!str_starts(*words, arg_names[i]) ||
                            (i == ARG_MOUNT_USR && !partuuid_of(value, ignored)))
                                continue;
                        if (args[i])
                                return UNCLEAR(why, "kernel command line: %s occurs twice", arg_names[i]);
                        args[i] = value;
                }
        return 0;
}

/* Up to three arguments name the data partition; those that do must name the same. */
static int take_partuuid(const char *const args[_ARG_MAX], Witness *w, Why *why)
{
        static const unsigned sources[] = { ARG_USR_DATA, ARG_VERITY_USR, ARG_MOUNT_USR };
        char uuid[37];

        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                if (!partuuid_of(args[sources[i]], uuid))
                        continue;
                if (w->partuuid[0] && !streq(w->partuuid, uuid))
                        return UNCLEAR(why, "kernel command line: names the partitions %s and %s for /usr",
                                       w->partuuid, uuid);
                memcpy(w->partuuid, uuid, sizeof(uuid));
        }
        return 0;
}

static int take_roothash(const char *const args[_ARG_MAX], Witness *w, Why *why)
{
        static const unsigned sources[] = { ARG_USRHASH, ARG_VERITY_USRHASH };
        char hash[65];

        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                const char *value = args[sources[i]];

                if (!value)
                        continue;
                if (hex_normalize(value, 64, hash) < 0)
                        return UNCLEAR(why, "kernel command line: %s%.80s is no root hash",
                                       arg_names[sources[i]], value);
                if (w->roothash[0] && !streq(w->roothash, hash))
                        return UNCLEAR(why, "kernel command line: two root hashes, %.12s... and %.12s...",
                                       w->roothash, hash);
                memcpy(w->roothash, hash, sizeof(hash));
        }
        return 0;
}

/* The tree must belong to the same slot as the data: its HASH partition, or the data partition itself when inline. */
static int check_hash_partition(const char *const args[_ARG_MAX], const SlotLayout *layout, const Witness *w,
                                Why *why)
{
        const SlotParts *parts = &layout->slot[w->slot];
        char uuid[37];

        if (!partuuid_of(args[ARG_USR_HASH], uuid) || streq(uuid, parts->data->partuuid) ||
            (parts->hash && streq(uuid, parts->hash->partuuid)))
                return 0;
        return UNCLEAR(why, "kernel command line: data of slot %s with the hash tree on partition %s",
                       slot_name(w->slot), uuid);
}

static int conclude_slot(const char *const args[_ARG_MAX], const SlotLayout *layout, Witness *w, Why *why)
{
        SlotId said = slot_from_name(args[ARG_ACL_SLOT]);

        if (args[ARG_ACL_SLOT] && said < 0)
                return UNCLEAR(why, "kernel command line: acl.slot=%.16s is no slot", args[ARG_ACL_SLOT]);
        /* acl.slot= alone does not say where /usr is: a slot is concluded from a partition, and then they must agree */
        w->slot = w->partuuid[0] ? (layout ? slot_of_partuuid(layout, w->partuuid) : said) : _SLOT_INVALID;
        w->claimed = said;
        if (!layout || !w->partuuid[0])
                return 0;
        if (w->slot < 0)
                return UNCLEAR(why,
                               "kernel command line: /usr is on partition %s, which is no slot of this disk",
                               w->partuuid);
        if (args[ARG_ACL_SLOT] && said != w->slot)
                return UNCLEAR(why, "kernel command line: acl.slot=%s, but /usr is on %s", slot_name(said),
                               layout->slot[w->slot].data->label);
        return check_hash_partition(args, layout, w, why);
}

int witness_cmdline(const char *cmdline, const SlotLayout *layout, Witness *ret, Why *why)
{
        _cleanup_(strv_freep) char **words = NULL;
        const char *args[_ARG_MAX] = { 0 };
        Witness w = WITNESS_NULL;
        int r;

        r = strv_split_words(cmdline, &words);
        if (r < 0)
                return r;
        if (!words)
                return 0;
        r = collect(words, args, why);
        if (r < 0)
                return r;
        r = take_partuuid(args, &w, why);
        if (r < 0)
                return r;
        *ret = w; /* what was found so far helps to find the disk, whatever comes now */
        r = take_roothash(args, &w, why);
        if (r < 0)
                return r;
        *ret = w;
        r = conclude_slot(args, layout, &w, why);
        if (r < 0)
                return r;
        *ret = w;
        return w.slot >= 0;
}

/* The dm device of that name: "dm-0". */
static bool find_mapping(const Env *env, const char *wanted, char ret[32])
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int dir_fd = env_open_dir(env, "/sys/block");

        if (dir_fd < 0 || dir_list(dir_fd, ".", &names) < 0)
                return false;
        for (char **name = names; *name; name++) {
                _cleanup_(free_charp) char *mapping = NULL;
                char path[128];

                (void) snprintf(path, sizeof(path), "/sys/block/%.64s/dm/name", *name);
                if (!str_starts(*name, "dm-") || strlen(*name) >= 32 ||
                    env_read_line(env, path, &mapping) < 0)
                        continue;
                if (streq(mapping, wanted)) {
                        memcpy(ret, *name, strlen(*name) + 1);
                        return true;
                }
        }
        return false;
}

int witness_dm(const Env *env, const SlotLayout *layout, Witness *ret, Why *why)
{
        _cleanup_(strv_freep) char **slaves = NULL;
        _cleanup_(close_fdp) int dir_fd = -1;
        Witness w = WITNESS_NULL;
        char device[32], path[96];

        if (!layout || !find_mapping(env, "usr", device))
                return 0;
        (void) snprintf(path, sizeof(path), "/sys/block/%s/slaves", device);
        dir_fd = env_open_dir(env, path);
        if (dir_fd < 0 || dir_list(dir_fd, ".", &slaves) < 0)
                return UNCLEAR(why, "/dev/mapper/usr: %s cannot be read", path);
        for (char **slave = slaves; *slave; slave++) {
                char uuid[DISK_UUID_SIZE];
                SlotId slot;

                if (!disk_partuuid_of_node(env, *slave, uuid))
                        continue;
                slot = slot_of_partuuid(layout, uuid);
                if (slot >= 0 && w.slot >= 0 && slot != w.slot)
                        return UNCLEAR(why, "/dev/mapper/usr: lies on both slots");
                if (slot < 0)
                        continue; /* the HASH partition */
                w.slot = slot;
                memcpy(w.partuuid, uuid, sizeof(uuid));
        }
        if (w.slot < 0)
                return UNCLEAR(why, "/dev/mapper/usr: lies on no slot of this disk");
        *ret = w;
        return 1;
}

int witness_acl(const char *text, const SlotLayout *layout, Witness *ret, Why *why)
{
        _cleanup_(free_charp) char *volume = os_release_get(text, "ACL_ACTIVE_VOLUME");
        _cleanup_(free_charp) char *uuid = os_release_get(text, "ACL_ACTIVE_USR_PARTUUID");
        _cleanup_(free_charp) char *status = os_release_get(text, "ACL_ACTIVE_VOLUME_STATUS");
        _cleanup_(free_charp) char *defaulted = os_release_get(text, "ACL_ACTIVE_VOLUME_DEFAULTED");
        Witness w = WITNESS_NULL;
        uint8_t bytes[16];

        w.defaulted = !streq0(defaulted, "0") || !streq0(status, "ok");
        *ret = w;
        if (w.defaulted)
                return 0;
        if (streq0(volume, "A") || streq0(volume, "B"))
                w.slot = *volume == 'A' ? SLOT_A : SLOT_B;
        else
                return UNCLEAR(why, "/run/acl/active-volume.env: ACL_ACTIVE_VOLUME is neither A nor B");
        if (uuid && *uuid) {
                if (uuid_parse_text(uuid, bytes) < 0)
                        return UNCLEAR(why, "/run/acl/active-volume.env: %.40s is no PARTUUID", uuid);
                uuid_format_text(bytes, w.partuuid);
                if (layout && slot_of_partuuid(layout, w.partuuid) != w.slot)
                        return UNCLEAR(
                                why,
                                "/run/acl/active-volume.env: volume %s on partition %s, which is not its",
                                volume, w.partuuid);
        }
        *ret = w;
        return 1;
}

static int agree(SlotRunning *running, const Witness *w, const char *who, const char **first, Why *why)
{
        if (running->known && running->slot != w->slot)
                return UNCLEAR(why, "%s says that slot %s runs, %s says slot %s", *first,
                               slot_name(running->slot), who, slot_name(w->slot));
        if (running->data_partuuid[0] && w->partuuid[0] && !streq(running->data_partuuid, w->partuuid))
                return UNCLEAR(why, "%s says that /usr is on partition %s, %s says on %s", *first,
                               running->data_partuuid, who, w->partuuid);
        if (!running->known)
                *first = who;
        running->known = true;
        running->slot = w->slot;
        if (!running->data_partuuid[0])
                memcpy(running->data_partuuid, w->partuuid, sizeof(w->partuuid));
        return 0;
}

/* Fills running; negative with a sentence as soon as anybody contradicts. */
static int hear_all(const Env *env, const SlotLayout *layout, SlotRunning *running, Why *why)
{
        static const char cmdline_path[] = "/proc/cmdline", acl_path[] = "/run/acl/active-volume.env";
        _cleanup_(bytes_done) Bytes cmdline = BYTES_NULL, acl = BYTES_NULL;
        Witness w = WITNESS_NULL;
        const char *first = cmdline_path;
        SlotId claimed = _SLOT_INVALID;
        int r;

        if (env_read(env, cmdline_path, CMDLINE_MAX, &cmdline) >= 0 && cmdline.data) {
                r = witness_cmdline((char *) cmdline.data, layout, &w, why);
                claimed = w.claimed;
                memcpy(running->roothash, w.roothash, sizeof(w.roothash));
                memcpy(running->data_partuuid, w.partuuid, sizeof(w.partuuid));
                if (r > 0)
                        r = agree(running, &w, "the kernel command line", &first, why);
                if (r < 0)
                        return r;
        }
        if (env_is_real(env)) {
                r = witness_dm(env, layout, &w, why);
                if (r > 0)
                        r = agree(running, &w, "device-mapper", &first, why);
                if (r < 0)
                        return r;
        }
        if (env_read(env, acl_path, ACTIVE_ENV_MAX, &acl) >= 0 && acl.data) {
                w = WITNESS_NULL;
                r = witness_acl((char *) acl.data, layout, &w, why);
                running->defaulted = w.defaulted;
                if (r > 0)
                        r = agree(running, &w, "/run/acl", &first, why);
                if (r < 0)
                        return r;
        }
        if (running->known && claimed >= 0 && claimed != running->slot)
                return UNCLEAR(why, "%s says that slot %s runs, acl.slot= on the kernel command line says %s",
                               first, slot_name(running->slot), slot_name(claimed));
        if (running->known && layout && !running->data_partuuid[0])
                memcpy(running->data_partuuid, layout->slot[running->slot].data->partuuid, DISK_UUID_SIZE);
        return 0;
}

int slot_running(const Env *env, const SlotLayout *layout, SlotRunning *ret, Why *why)
{
        SlotRunning running = { .slot = _SLOT_INVALID };
        int r;

        r = hear_all(env, layout, &running, why);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                running.known = false;
        if (r >= 0 && !running.known)
                (void) UNCLEAR(why,
                               "which slot runs is not known: neither the kernel command line nor %s says it",
                               running.defaulted ? "/run/acl, which had to guess," : "anybody else");
        if (!running.known)
                running.slot = _SLOT_INVALID;
        *ret = running;
        return 0;
}

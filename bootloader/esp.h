/* SPDX-License-Identifier: MIT */
#pragma once

/* The ESP as a folder: names found as FAT finds them, entries with their addons, space in clusters, files made durable one by
 * one. For siblings and tests. Knows what lies there; does not know what ought to. */

#include "bootloader/cmdline.h"
#include "bootloader/entry.h"
#include "bootloader/plan.h"
#include "base/env.h"

#define ESP_ENTRIES    "EFI/Linux"
#define ESP_GLOBALS    "loader/addons"
#define ESP_STAGED     "vmlinuz-0.efi.staged"
#define ESP_STAGED_D   ESP_STAGED ".extra.d"
#define ESP_ADDONS_MAX 64u /* files in one addon folder; real ones have three or four */

typedef struct Esp {
        int fd;
        const char *path; /* for sentences; borrowed */
        bool vfat;
} Esp;

/* life cycle */
int esp_open(const Env *env, const char *path, Esp *ret, Why *why);
void esp_done(Esp *esp);

/* names: exact first, then without regard to case */
/* 1 and the name as it is spelled there, 0 there is none */
int esp_find(int dir_fd, const char *name, char **ret);
/* O_DIRECTORY fd of a path below dir_fd; -ENOENT */
int esp_dir(int dir_fd, const char *path);
int esp_make_dir(int dir_fd, const char *path);
int esp_open_file(int dir_fd, const char *name);

/* contents */
int esp_file_digest(int dir_fd, const char *name, char ret[65], uint64_t *ret_size);
/* Bytes that removing it would free. A missing one has none. */
int esp_tree_size(int dir_fd, const char *name, uint64_t cluster, uint64_t *ret);
int esp_space(const Esp *esp, uint64_t *ret_free, uint64_t *ret_cluster);

/* changes, each durable when it returns */
/* Everything that was written before is on the medium, not in its cache. */
int esp_sync(const Esp *esp);
/* Removes a file or folder by the name FAT would know it by; a missing one is success. */
int esp_remove(int dir_fd, const char *name);
int esp_rename(int dir_fd, const char *from, const char *to);
/* Copies a file over another: equal contents are left alone (returns 0; 1 when it was written). */
int esp_copy(int from_dir, const char *from, int to_dir, const char *to);
/* A small file, as file_replace(), and as FAT needs it: the old contents keep their place until the new ones are found. */
int esp_replace(int dir_fd, const char *name, const void *data, size_t size);

/* --- room for names: see esproom.c --- */

#define ESP_SPARE "GYBE.NEW" /* beside a folder that is being written once more */

/* An entry of a folder: where it begins (bytes), how many places of 32 bytes it may take. */
typedef struct EspPlace {
        uint64_t start;
        unsigned places;
} EspPlace;

/* Places that a name may take. */
unsigned esp_places(const char *name);
/* Longest run of free places in a folder with these entries (in order) and this many bytes. */
unsigned esp_room_of(const EspPlace *entries, size_t n, uint64_t size);
/* The same for a folder on the ESP; plenty where it is not FAT. */
int esp_room(const Esp *esp, int dir_fd, unsigned *ret);
/* Afterwards that many places are free in a row in the folder (a missing one is fine). Descriptors of it are stale. */
int esp_make_room(const Esp *esp, const char *path, unsigned places, Why *why);
/* Refuses instead. */
int esp_check_room(const Esp *esp, const char *path, unsigned places, Why *why);
/* Free bytes that esp_make_room() would need; 0 when there is room. */
int esp_rebuild_size(const Esp *esp, const char *path, unsigned places, uint64_t cluster, uint64_t *ret);
/* Writes the folder once more, roomier, and exchanges the two. Names and contents stay. */
int esp_rebuild(const Esp *esp, int parent_fd, const char *name);

/* --- entries --- */

typedef struct EspEntry {
        char *name; /* as on disk */
        EntryName parsed;
        bool type1, readable;
        char *sort_key, *machine_id, *version;
        char *version_id;
        char *cmdline; /* of the UKI alone */
        int slot;      /* by the effective command line; -1 */
        char roothash[65];
} EspEntry;

typedef struct EspEntries {
        EspEntry *items;
        size_t n;
        GlobalAddon *globals;
        size_t n_globals;
} EspEntries;

int esp_entries(const Esp *esp, const BootSlotIds ids[2], EspEntries *ret, Why *why);
void esp_entries_done(EspEntries *entries);
/* Counter-stripped, as boot_name_equal(). */
const EspEntry *esp_entry_find(const EspEntries *entries, const char *name);
EntryKey esp_entry_key(const EspEntry *entry);

/* The files of an entry's addon folder, with digests; none when there is no folder. */
typedef struct LiveFiles {
        LiveFile *items;
        size_t n;
} LiveFiles;

int esp_live_files(const Esp *esp, const char *entry, LiveFiles *ret, Why *why);
void esp_live_files_done(LiveFiles *files);
int esp_globals(const Esp *esp, GlobalAddon **ret, size_t *ret_n, Why *why);
void esp_globals_done(GlobalAddon *globals, size_t n);

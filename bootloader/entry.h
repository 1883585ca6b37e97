/* SPDX-License-Identifier: MIT */
#pragma once

/* Boot entries as words: what a file name says, which entry a pattern means, what sd-boot puts first, what loader.conf
 * says. Pure. For siblings and tests; other rooms use bootloader.h. Grammar: acl-disk-and-boot.md 6, boot-assessment.md. */

#include "bootloader/bootloader.h"

#define ENTRY_INDEX_FIRST 100u       /* Trident's first managed index */
#define ENTRY_INDEX_MAX   999999999u /* nine digits: fits, and nobody updates that often */
#define LOADER_CONF_MAX   (64u * 1024u)

typedef struct EntryName {
        bool counted; /* +LEFT[-DONE] in front of the suffix */
        unsigned left, done;
        bool managed; /* vmlinuz-<index>-azl<a|b><os>.efi */
        bool factory; /* vmlinuz-<kernel version>.efi, acl.efi: an image builder's name */
        unsigned index, os_index;
        int slot;                 /* by name, when managed; else -1 */
        char stem[BOOT_NAME_MAX]; /* without counter, with suffix */
} EntryName;

/* -EINVAL: sd-boot would not show it as an entry, or the name is longer than ours may be. suffix: ".efi" or ".conf" */
int entry_name_parse(const char *name, const char *suffix, EntryName *ret);
int entry_name_format(unsigned index, int slot, unsigned os_index, char ret[BOOT_NAME_MAX]);
/* The folder where systemd-stub looks for a UKI's addons: "<uki without counter>.extra.d". */
#define ENTRY_ADDONS_MAX (BOOT_NAME_MAX + 16u)
void entry_addons_dir(const char *name, char ret[ENTRY_ADDONS_MAX]);
/* The name can stand in a variable that is read as a pattern. */
bool entry_name_literal(const char *name);

/* What sd-boot sorts by. Strings are borrowed; NULL: absent. */
typedef struct EntryKey {
        const char *id; /* file name */
        const char
                *stem; /* without counter: what newer loaders call the entry (257; 255 uses the file name) */
        const char *sort_key, *machine_id, *version;
        int left, done; /* -1: no counter */
} EntryKey;

/* Versions as the UAPI version format specification orders them: below, equal, above zero. */
int version_compare(const char *a, const char *b);
/* Below zero: a stands above b in the menu. */
int entry_key_compare(const EntryKey *a, const EntryKey *b);
/* fnmatch() as far as sd-boot has it: * ? [a-z] \x; case does not count. */
bool entry_glob(const char *pattern, const char *name);

/* Where a default can come from, in sd-boot's order. NULL: unset. */
typedef struct DefaultSources {
        const char *preferred;   /* LoaderEntryPreferred, where the loader knows it: skips bad entries */
        const char *variable;    /* LoaderEntryDefault */
        const char *conf;        /* loader.conf default */
        const char *last_booted; /* LoaderEntryLastBooted, what "@saved" means */
} DefaultSources;

/* Index into keys (any order), or -1; ret_by becomes the word for BootState.default_by. */
int entry_default(const EntryKey *keys, size_t n, const DefaultSources *sources, const char **ret_by);

/* loader.conf and type-1 entries have the same shape: "key value" lines. The last line with that key, or NULL. */
int conf_get(const char *text, const char *key, char **ret);
/* The text with one "default NAME" line in place of all others; every other line stays as it is, but for "preferred" when
 * drop_preferred says so. */
int loader_conf_set_default(const char *text, const char *name, bool drop_preferred, char **ret);
/* A value of an os-release text, unquoted; NULL when absent. */
int osrel_get(const char *text, const char *key, char **ret);

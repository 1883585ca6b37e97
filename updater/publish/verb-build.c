/* SPDX-License-Identifier: MIT */

#include "publish/options.h"
#include "publish/verbs.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

static void build_options_done(BuildOptions *o)
{
        strv_freep(&o->addons);
        strv_freep(&o->templates);
        strv_freep(&o->creds);
        strv_freep(&o->esp_files);
}

/* reproducible-builds.org: decimal seconds */
static int read_epoch(uint64_t *ret, Why *why)
{
        const char *text = getenv("SOURCE_DATE_EPOCH");

        if (text && *text && parse_u64(text, ret) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "SOURCE_DATE_EPOCH=%s: not a number of seconds",
                            text);
        return 0;
}

static const char build_usage[] =
        "gybe-release build --usr IMG (--uki FILE | --esp TREE|IMG) [...] -o X.cosi\n"
        "gybe-release build --disk DISK [...] -o X.cosi";

static const char build_story[] =
        "Makes a COSI 1.2: marker, metadata, GPT, then every partition as seekable zstd. The hash tree is "
        "computed\n"
        "here, as veritysetup format would; slot addons are checked against it. The same inputs and "
        "SOURCE_DATE_EPOCH\n"
        "give the same bytes (with the same versions of zstd, dosfstools and mtools).";

static char *build_text(const Json *result)
{
        const Json *usr = json_get(result, "usr");
        char size[SIZE_TEXT_SIZE];
        uint64_t bytes = 0;

        (void) json_get_u64(result, "size", &bytes);
        format_size(bytes, size);
        return str_printf("%s: %s\nroothash %s\nsalt     %s\nuuid     %s\n",
                          json_get_str(result, "cosi") ?: "", size, json_get_str(usr, "roothash") ?: "",
                          json_get_str(usr, "salt") ?: "", json_get_str(usr, "uuid") ?: "");
}

static char *verity_text(const Json *result)
{
        uint64_t data = 0, hash = 0;

        (void) json_get_u64(result, "dataSize", &data);
        (void) json_get_u64(result, "hashSize", &hash);
        return str_printf("roothash %s\nsalt     %s\nuuid     %s\ndata     %" PRIu64
                          " bytes\ntree     %" PRIu64 " bytes\n",
                          json_get_str(result, "roothash") ?: "", json_get_str(result, "salt") ?: "",
                          json_get_str(result, "uuid") ?: "", data, hash);
}

int verb_build(Cli *cli, Why *why)
{
        _cleanup_(build_options_done) BuildOptions o = { 0 };
        _cleanup_(strv_freep) char **rest = NULL;
        uint64_t level = 0, lba = 0, workers = 0;
        const Option options[] = {
                { NULL, 0, OPTION_HEADING, NULL, NULL, "From parts:" },
                { "usr", 0, OPTION_TEXT, &o.usr, "IMG",
                  "image of /usr; any file system, a multiple of 4096 bytes" },
                { "uki", 0, OPTION_TEXT, &o.uki, "FILE", "to EFI/Linux/ under its own name" },
                { "addon", 0, OPTION_LIST, &o.addons, "FILE", "live addon beside the UKI; may be repeated" },
                { "addon-template", 0, OPTION_LIST, &o.templates, "FILE",
                  "to acl/uki-addons/: slot-a.addon.efi, slot-b.addon.efi, fips ...;\nmay be repeated. Slot "
                  "addons must name "
                  "the root hash" },
                { "cred", 0, OPTION_LIST, &o.creds, "FILE", "credential beside the UKI; may be repeated" },
                { "shim", 0, OPTION_TEXT, &o.shim, "FILE",
                  "to EFI/BOOT/BOOTX64.EFI; the loader becomes its second stage" },
                { "loader", 0, OPTION_TEXT, &o.loader, "FILE", "systemd-boot, to EFI/BOOT/" },
                { "esp", 0, OPTION_TEXT, &o.esp, "TREE|IMG",
                  "a folder (may be combined with the above) or a FAT image" },
                { "esp-file", 0, OPTION_LIST, &o.esp_files, "PATH=FILE",
                  "any other file of the ESP; may be repeated" },
                { "hash-sig", 0, OPTION_TEXT, &o.hash_sig, "FILE",
                  "payload of HASH-SIG-A: {\"rootHash\":...,\"signature\":...}" },
                { "oem", 0, OPTION_TEXT, &o.oem, "IMG", "image for OEM; blank otherwise" },
                { "root", 0, OPTION_TEXT, &o.root, "IMG", "image for ROOT; blank otherwise" },
                { "esp-size", 0, OPTION_SIZE, &o.sizes[BUILD_ESP], "SIZE",
                  "of EFI-SYSTEM (192M, more when needed)" },
                { "usr-size", 0, OPTION_SIZE, &o.sizes[BUILD_USR], "SIZE", "of USR-A and USR-B (1G)" },
                { "hash-size", 0, OPTION_SIZE, &o.sizes[BUILD_HASH], "SIZE", "of HASH-A and HASH-B (9M)" },
                { "oem-size", 0, OPTION_SIZE, &o.sizes[BUILD_OEM], "SIZE", "of OEM (128M)" },
                { "root-size", 0, OPTION_SIZE, &o.sizes[BUILD_ROOT], "SIZE", "of ROOT (2162M)" },
                { "lba-size", 0, OPTION_NUMBER, &lba, "BYTES", "sector of the disk: 512 or 4096 (512)" },
                { "salt", 0, OPTION_TEXT, &o.salt, "HEX",
                  "verity salt, \"-\" for none; derived from the image otherwise" },
                { "uuid", 0, OPTION_TEXT, &o.uuid, "UUID",
                  "of the verity superblock; derived from the image otherwise" },
                { "fs-type", 0, OPTION_TEXT, &o.fs_type, "TYPE",
                  "of /usr, where it cannot be found in the image" },
                { "fs-uuid", 0, OPTION_TEXT, &o.fs_uuid, "UUID", "of /usr, the same" },
                { NULL, 0, OPTION_HEADING, NULL, NULL, "From a disk:" },
                { "disk", 0, OPTION_TEXT, &o.disk, "DISK",
                  "whole ACL disk image: USR-A, HASH-A, HASH-SIG-A, EFI-SYSTEM and the rest.\nIts hash tree "
                  "is proved, not "
                  "made" },
                { NULL, 0, OPTION_HEADING, NULL, NULL, "For both:" },
                { "os-release", 0, OPTION_TEXT, &o.os_release, "FILE", "default: the UKI's .osrel" },
                { "packages", 0, OPTION_TEXT, &o.packages, "FILE",
                  "lines \"NAME VERSION ARCH\" (dpkg-query) or \"NAME VERSION RELEASE\nARCH\" (rpm), or a "
                  "JSON array" },
                { "arch", 0, OPTION_TEXT, &o.arch, "ARCH",
                  "x86_64 or aarch64; default: what the UKI is made for" },
                { "id", 0, OPTION_TEXT, &o.id, "UUID", "of the image; derived from its metadata otherwise" },
                { "esp-mount", 0, OPTION_TEXT, &o.esp_mount, "PATH", "where hosts mount the ESP (/boot)" },
                { "level", 0, OPTION_NUMBER, &level, "N", "zstd level 1-22 (15)" },
                { "frame-size", 0, OPTION_SIZE, &o.frame_size, "SIZE", "raw bytes of a frame (32K)" },
                { "checksum", 0, OPTION_FLAG, &o.checksum, NULL,
                  "XXH64 in every frame and in the seek table" },
                { "workers", 0, OPTION_NUMBER, &workers, "N", "threads (all cores)" },
                { "print-verity", 0, OPTION_FLAG, &o.print_verity, NULL,
                  "only say root hash, salt and UUID; write nothing" },
                { "output", 'o', OPTION_TEXT, &o.output, "X.cosi",
                  "replaced only when the new one is complete" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(options, ELEMENTSOF(options), build_usage, build_story);
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "build", cli->argv, &rest, why);
        if (r >= 0)
                r = read_epoch(&o.epoch, why);
        if (r < 0)
                return r;
        if (strv_len(rest) > 0)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "build: %s: what is this for?", rest[0]);
        o.level = (int) MIN(level, (uint64_t) 1000);
        o.lba_size = (uint32_t) MIN(lba, (uint64_t) UINT32_MAX);
        o.workers = (unsigned) MIN(workers, (uint64_t) 1000);
        r = publish_build(cli->env, &o, cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = o.print_verity ? verity_text(cli->result) : build_text(cli->result);
        return r;
}

int verb_verity(Cli *cli, Why *why)
{
        _cleanup_(strv_freep) char **rest = NULL;
        const char *usr = NULL, *salt = NULL, *uuid = NULL, *tree = NULL;
        const Option options[] = {
                { "usr", 0, OPTION_TEXT, &usr, "IMG", "image of /usr" },
                { "salt", 0, OPTION_TEXT, &salt, "HEX", "\"-\" for none; derived from the image otherwise" },
                { "uuid", 0, OPTION_TEXT, &uuid, "UUID", "derived from the image otherwise" },
                { "tree", 0, OPTION_TEXT, &tree, "FILE", "write the hash image (superblock and tree) there" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(
                        options, ELEMENTSOF(options),
                        "gybe-release verity --usr IMG [--salt HEX] [--uuid UUID] [--tree FILE]",
                        "Says the root hash that build will find, for slot addons and HASH-SIG signatures "
                        "that\nmust exist before the build. SHA-256, 4096-byte blocks, as veritysetup "
                        "format.\n\nDerived salt: SHA-256 of \"gybe verity salt\", a NUL and the content "
                        "digest; derived UUID:\nthe first 16 bytes of SHA-256 of \"gybe verity uuid\", a "
                        "NUL and the content digest, marked\nversion 8. Content digest: SHA-256 over the "
                        "SHA-256 of each MiB of the image.");
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "verity", cli->argv, &rest, why);
        if (r < 0)
                return r;
        if (!usr && strv_len(rest) == 1)
                usr = rest[0];
        else if (!usr || strv_len(rest) > 0)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "verity: needs one --usr IMG");
        r = publish_verity(usr, salt, uuid, tree, 0, cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = verity_text(cli->result);
        return r;
}

/* SPDX-License-Identifier: MIT */

/* What must not be tried again, one file each: quarantine/<id>.json. The id is made of content (verity root
 * and UKI), so the same image under another version or address is still the same image, and both slots' gybe
 * agree on it.
 *
 * The file's name is the fact, its content the explanation: a record that a power cut or a newer version made
 * unreadable still keeps its image out. */

#include "state/document.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define QUARANTINE_DIR "quarantine"
#define RECORD_MAX     (16u * 1024u) /* seven short fields */
#define RECORD_NAME    40u           /* 32 digits, ".json", NUL */

int quarantine_id(const char *roothash, const char *uki_sha256, char ret[QUARANTINE_ID_SIZE])
{
        char both[129] = { 0 }, hex[SHA256_HEX];
        int r;

        r = hex_normalize(roothash, 64, both);
        /* a slot that was adopted without its UKI's digest is known by its root hash alone */
        if (r >= 0 && uki_sha256 && *uki_sha256)
                r = hex_normalize(uki_sha256, 64, both + 64);
        if (r >= 0)
                r = sha256_hex(both, strlen(both), hex);
        if (r < 0)
                return r;
        memcpy(ret, hex, QUARANTINE_ID_SIZE - 1);
        ret[QUARANTINE_ID_SIZE - 1] = 0;
        return 0;
}

static int record_name(const char *id, char ret[RECORD_NAME], Why *why)
{
        char hex[QUARANTINE_ID_SIZE];

        if (hex_normalize(id, QUARANTINE_ID_SIZE - 1, hex) < 0) {
                (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%.64s: not a quarantine id (32 hex digits)",
                            id);
                return fail_hint(why, -EINVAL, "gybe quarantine list shows them");
        }
        (void) snprintf(ret, RECORD_NAME, "%s.json", hex);
        return 0;
}

static bool is_record(const char *name)
{
        char hex[QUARANTINE_ID_SIZE], id[QUARANTINE_ID_SIZE];

        if (strlen(name) != RECORD_NAME - 3 || !str_ends(name, ".json"))
                return false;
        memcpy(id, name, QUARANTINE_ID_SIZE - 1);
        id[QUARANTINE_ID_SIZE - 1] = 0;
        return hex_normalize(id, QUARANTINE_ID_SIZE - 1, hex) >= 0 && streq(id, hex);
}

/* 1 and the record (NULL when it cannot be understood), 0 when there is none. */
static int read_record(int dir_fd, const char *name, Json **ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        *ret = NULL;
        r = file_read(dir_fd, name, RECORD_MAX, &b);
        if (r == -ENOENT)
                return 0;
        if (r == -ENOMEM || r == -EACCES || r == -EPERM || r == -EMFILE || r == -ENFILE)
                return fail_errno(why, r, WHY_HOST, "%s/%s/%s", STATE_DIR, QUARANTINE_DIR, name);
        if (r >= 0 && document_parse(b.data, b.size, "quarantine", ret, NULL) == -ENOMEM)
                return -ENOMEM;
        return 1;
}

int quarantine_has(const Env *env, const char *id, char **ret_reason, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, QUARANTINE_DIR, false, why);
        _cleanup_(json_unrefp) Json *record = NULL;
        char name[RECORD_NAME];
        const char *reason, *message;
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        r = record_name(id, name, why);
        if (r >= 0)
                r = read_record(dir_fd, name, &record, why);
        if (r <= 0 || !ret_reason)
                return r;
        reason = json_get_str(record, "reason");
        message = json_get_str(record, "message");
        *ret_reason = str_printf("%s%s%s", reason ? reason : "its record cannot be read", message ? ": " : "",
                                 message ? message : "");
        return *ret_reason ? 1 : -ENOMEM;
}

static int format_record(const Env *env, const char *roothash, const char *uki_sha256, const char *version,
                         Reason reason, const char *message, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("quarantine", NULL);

        member_text(doc, "roothash", roothash);
        member_text(doc, "ukiSha256", uki_sha256);
        member_text(doc, "version", version);
        member_text(doc, "reason", reason_name(reason));
        member_text(doc, "message", message);
        member_time(doc, "since", env_now(env));
        return document_format(doc, ret);
}

int quarantine_add(const Env *env, const char *roothash, const char *uki_sha256, const char *version,
                   Reason reason, const char *message, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, QUARANTINE_DIR, true, why);
        _cleanup_(json_unrefp) Json *present = NULL;
        _cleanup_(free_charp) char *text = NULL;
        char id[QUARANTINE_ID_SIZE], name[RECORD_NAME];
        int r;

        if (dir_fd < 0)
                return dir_fd;
        r = quarantine_id(roothash, uki_sha256, id);
        if (r < 0)
                return fail(why, r, WHY_HOST, "bug", "quarantine: \"%.80s\" is no root hash", roothash);
        r = record_name(id, name, why);
        if (r >= 0)
                r = read_record(dir_fd, name, &present, why);
        if (r < 0 || present)
                return r < 0 ? r : 0;
        r = format_record(env, roothash, uki_sha256, version, reason, message, &text);
        if (r < 0)
                return r;
        r = file_replace(dir_fd, name, text, strlen(text), STATE_FILE_MODE);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s/%s", STATE_DIR, QUARANTINE_DIR, name) : 0;
}

int quarantine_clear(const Env *env, const char *id, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, QUARANTINE_DIR, false, why);
        _cleanup_(strv_freep) char **names = NULL;
        char name[RECORD_NAME];
        int r = 0, n = 0;

        if (id && record_name(id, name, why) < 0)
                return -EINVAL;
        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        r = id ? strv_add(&names, name) : dir_list(dir_fd, ".", &names);
        for (char **i = names; r >= 0 && *i; i++) {
                if (!is_record(*i))
                        continue;
                r = file_remove(dir_fd, *i);
                n += r > 0;
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, QUARANTINE_DIR) : n;
}

static int list_record(int dir_fd, const char *name, Json *list, Why *why)
{
        _cleanup_(json_unrefp) Json *record = NULL;
        char id[QUARANTINE_ID_SIZE];
        Json *item;
        int r;

        r = read_record(dir_fd, name, &record, why);
        if (r <= 0)
                return r;
        memcpy(id, name, sizeof(id) - 1);
        id[sizeof(id) - 1] = 0;
        item = json_new_object();
        json_set_str(item, "id", id);
        json_merge(item, record);
        json_remove(item, "schema");
        json_set_str(item, "id", id);
        if (!record)
                json_set_str(item, "message", "its record cannot be read");
        json_add(list, item);
        return 0;
}

int quarantine_list(const Env *env, Json **ret, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, QUARANTINE_DIR, false, why);
        _cleanup_(json_unrefp) Json *list = json_new_array();
        _cleanup_(strv_freep) char **names = NULL;
        int r = 0;

        if (!list)
                return -ENOMEM;
        if (dir_fd < 0 && dir_fd != -ENOENT)
                return dir_fd;
        if (dir_fd >= 0) {
                r = dir_list(dir_fd, ".", &names);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, QUARANTINE_DIR);
        }
        for (char **i = names; i && *i && r >= 0; i++)
                if (is_record(*i))
                        r = list_record(dir_fd, *i, list, why);
        if (r < 0)
                return r;
        *ret = TAKE(list);
        return 0;
}

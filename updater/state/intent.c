/* SPDX-License-Identifier: MIT */

/* The boot intent: what the next boot is meant to be, said before the one-shot is set. It is the one document
 * that a gybe version which knows nothing of this one's journal can be expected to read, so its fields never
 * change meaning:
 *
 * {"schema": "gybe.intent/1", "updateId": "…", "slot": "b", "roothash": "…", "ukiSha256": "…",
 *  "entry": "vmlinuz-101-azlb0.efi", "attempt": 1, "bootIdBefore": "…", "writtenAt": "2026-11-04T06:00:00Z",
 *  "deadline": 900}
 *
 * The deadline counts from the start of the target's boot, because no clock is trusted across a reboot; a
 * reader also takes a point in time, which means so long after writtenAt.
 *
 * The copy on the ESP has the same text; it is a hint that survives a new /var, and proves nothing. */

#include "state/document.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

#define INTENT_NAME "intent.json"
#define INTENT_MAX  (16u * 1024u) /* ten short fields */

void intent_done(Intent *i)
{
        free(i->update_id);
        free(i->entry);
        free(i->boot_id_before);
        *i = (Intent){ 0 };
}

int intent_format(const Intent *i, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("intent", NULL);

        if (!i->update_id || !i->slot || !i->roothash[0] || !i->entry)
                return -EINVAL;
        member_text(doc, "updateId", i->update_id);
        member_slot(doc, "slot", i->slot);
        member_text(doc, "roothash", i->roothash);
        member_text(doc, "ukiSha256", i->uki_sha256);
        member_text(doc, "entry", i->entry);
        member_u64(doc, "attempt", i->attempt, true);
        member_text(doc, "bootIdBefore", i->boot_id_before);
        member_time(doc, "writtenAt", i->written_at);
        member_u64(doc, "deadline", i->deadline, i->deadline > 0);
        return document_format(doc, ret);
}

static void parse_deadline(Fields *f, Intent *i)
{
        uint64_t at;

        if (f->r >= 0 && json_get_time(f->object, "deadline", &at) > 0)
                i->deadline = at > i->written_at ? at - i->written_at : 0;
        else if (f->r >= 0 && json_get_duration(f->object, "deadline", &i->deadline) < 0)
                (void) field_wrong(f, "deadline", "neither a duration nor a time");
}

int intent_parse(const void *data, size_t size, Intent *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = NULL;
        _cleanup_(intent_done) Intent i = { 0 };
        Fields f = { .what = "intent", .why = why };
        int r;

        if (size > INTENT_MAX)
                return fail(why, -EFBIG, WHY_HOST, "lost", "intent: longer than %u bytes, so not ours",
                            INTENT_MAX);
        r = document_parse(data, size, "intent", &doc, why);
        if (r < 0)
                return r;
        f.object = doc;
        field_text(&f, "updateId", &i.update_id);
        field_slot(&f, "slot", &i.slot);
        field_digest(&f, "roothash", i.roothash);
        field_digest(&f, "ukiSha256", i.uki_sha256);
        field_file_name(&f, "entry", &i.entry);
        field_unsigned(&f, "attempt", &i.attempt);
        field_text(&f, "bootIdBefore", &i.boot_id_before);
        field_time(&f, "writtenAt", &i.written_at);
        parse_deadline(&f, &i);
        if (f.r >= 0 && (!i.update_id || !i.slot || !i.roothash[0] || !i.entry))
                (void) field_wrong(&f, "updateId, slot, roothash, entry", "one of them is missing");
        if (f.r < 0)
                return f.r;
        *ret = i;
        i = (Intent){ 0 };
        return 0;
}

int intent_load(const Env *env, Intent *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        r = document_read(env, INTENT_NAME, INTENT_MAX, &b, NULL, why);
        if (r != DOCUMENT_READ)
                return r < 0 ? r : 0;
        r = intent_parse(b.data, b.size, ret, NULL);
        if (r == -ENOMEM)
                return r;
        return r >= 0;
}

int intent_save(const Env *env, const Intent *i, Why *why)
{
        _cleanup_(free_charp) char *text = NULL;
        int r;

        r = intent_format(i, &text);
        if (r < 0)
                return r == -ENOMEM ? r
                                    : fail(why, r, WHY_HOST, "bug", "boot intent: incomplete, not written");
        return document_write(env, INTENT_NAME, text, why);
}

int intent_remove(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", false, why);
        int r;

        if (dir_fd == -ENOENT)
                return 0;
        if (dir_fd < 0)
                return dir_fd;
        r = file_remove(dir_fd, INTENT_NAME);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, INTENT_NAME) : r;
}

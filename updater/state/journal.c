/* SPDX-License-Identifier: MIT */

/* The transaction as a file. It is memory, never the witness: what it claims is weighed against the disk by
 * recovery.c.
 *
 * {"schema": "gybe.journal/1", "phase": "staged", "updateId": "…", "version": "3.0.20261104", "serial":
 * 2026110400, "slot": "b", "roothash": "…", "ukiSha256": "…", "files": [{"kind": "uki", "name": "…", "size":
 * 1, "sha256": "…"}], "attempt": 1, "armed": true, "bootId": "…", …}
 *
 * Both slots' gybe versions write this file. A reader keeps the fields it does not know; a name of a reason
 * or outcome it does not know reads as "none", but an unknown phase would mean not knowing what is true on
 * disk: such a journal is lost. */

#include "state/document.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define JOURNAL_NAME "journal.json"
#define JOURNAL_MAX                                                                                          \
        (1u * 1024u * 1024u)      /* a release file is at most 256 KiB; what it names twice over fits */
#define JOURNAL_FILES_MAX   256u  /* an ESP entry has a handful of addons */
#define JOURNAL_REVOKED_MAX 4096u /* as trust.json */

static void journal_file_done(JournalFile *f)
{
        free(f->kind);
        free(f->name);
        json_unrefp(&f->unknown);
        *f = (JournalFile){ 0 };
}

void journal_done(Journal *j)
{
        for (size_t i = 0; i < j->n_files; i++)
                journal_file_done(&j->files[i]);
        free(j->files);
        free(j->update_id);
        free(j->version);
        free(j->product);
        free(j->release_sha256);
        free(j->source);
        free(j->entry);
        free(j->boot_id);
        free(j->message);
        free(j->reboot_blocked);
        free(j->failed_kind);
        free(j->failed_stage);
        free(j->cause);
        free(j->evidence);
        free(j->revoked_serials);
        strv_freep(&j->revoked_roothashes);
        json_unrefp(&j->unknown);
        free(j->lost_because);
        *j = (Journal){ 0 };
}

void journal_move(Journal *dst, Journal *src)
{
        journal_done(dst);
        *dst = *src;
        *src = (Journal){ 0 };
}

void journal_begin(Journal *j)
{
        Journal fresh = { .unknown = TAKE(j->unknown) };

        journal_move(j, &fresh);
}

/* parsing */

static void parse_file(const Json *item, JournalFile *ret, Fields *f)
{
        Fields inner = { .object = item, .what = f->what, .why = f->why };

        if (!json_is_object(item)) {
                (void) field_wrong(f, "files", "not a list of objects");
                return;
        }
        field_text(&inner, "kind", &ret->kind);
        field_file_name(&inner, "name", &ret->name);
        field_u64(&inner, "size", &ret->size);
        field_digest(&inner, "sha256", ret->sha256);
        field_bool(&inner, "carried", &ret->carried);
        if (inner.r >= 0 && !ret->kind)
                (void) field_wrong(&inner, "files", "a file without a kind");
        ret->unknown = json_ref(item);
        f->r = inner.r;
}

static void parse_files(Fields *f, Journal *j)
{
        const Json *files = field_array(f, "files", JOURNAL_FILES_MAX);
        size_t n = json_len(files);

        if (n == 0)
                return;
        j->files = calloc(n, sizeof(*j->files));
        if (!j->files) {
                f->r = -ENOMEM;
                return;
        }
        j->n_files = n;
        for (size_t i = 0; i < n && f->r >= 0; i++)
                parse_file(json_at(files, i), &j->files[i], f);
}

static void parse_names(Fields *f, Journal *j)
{
        const char *outcome = json_get_str(f->object, "outcome"), *reason = json_get_str(f->object, "reason");

        j->phase = phase_from_name(json_get_str(f->object, "phase"));
        if (j->phase == _PHASE_INVALID)
                (void) field_wrong(f, "phase", "none that this version knows");
        j->outcome = MAX(outcome_from_name(outcome), OUTCOME_NONE);
        j->reason = MAX(reason_from_name(reason), REASON_NONE);
}

/* A phase without what it stands for is a sentence without a verb: nobody could go on from it. */
static void check_phase(Fields *f, const Journal *j)
{
        if (j->phase >= PHASE_STAGED && (!j->slot || !j->roothash[0] || !j->update_id))
                (void) field_wrong(f, "phase", "staged or later, without update, slot or root hash");
        if (j->phase >= PHASE_FINALIZED && !j->entry)
                (void) field_wrong(f, "phase", "finalized or later, without an entry");
}

static void parse_release(Fields *f, Journal *j)
{
        field_text(f, "version", &j->version);
        field_u64(f, "serial", &j->serial);
        field_u64(f, "floorSerial", &j->floor_serial);
        field_text(f, "product", &j->product);
        field_text(f, "releaseSha256", &j->release_sha256);
        field_text(f, "source", &j->source);
        field_time(f, "issued", &j->issued);
        field_u64_list(f, "revokedSerials", JOURNAL_REVOKED_MAX, &j->revoked_serials, &j->n_revoked_serials);
        field_digest_list(f, "revokedRoothashes", JOURNAL_REVOKED_MAX, &j->revoked_roothashes);
}

static void parse_target(Fields *f, Journal *j)
{
        field_slot(f, "slot", &j->slot);
        field_digest(f, "roothash", j->roothash);
        field_digest(f, "ukiSha256", j->uki_sha256);
        field_digest(f, "runningRoothash", j->running_roothash);
        field_u64(f, "dataSize", &j->data_size);
        field_u64(f, "hashSize", &j->hash_size);
        field_digest(f, "sigSha256", j->sig_sha256);
        field_bool(f, "slotDirty", &j->slot_dirty);
        field_bool(f, "rollback", &j->rollback);
        field_bool(f, "noReboot", &j->no_reboot);
        parse_files(f, j);
        field_file_name(f, "entry", &j->entry);
        field_unsigned(f, "attempt", &j->attempt);
        field_bool(f, "armed", &j->armed);
        field_text(f, "bootId", &j->boot_id);
        field_time(f, "deadline", &j->deadline);
}

static void parse_reboot(Fields *f, Journal *j)
{
        field_time(f, "finalizedAt", &j->finalized_at);
        field_time(f, "rebootAskedAt", &j->reboot_asked_at);
        field_unsigned(f, "rebootAsks", &j->reboot_asks);
        field_text(f, "rebootBlockedBy", &j->reboot_blocked);
        field_bool(f, "rebootTold", &j->reboot_told);
}

static void parse_failure(Fields *f, Journal *j)
{
        Fields inner = { .object = field_object(f, "failure"), .what = f->what, .why = f->why };

        if (!inner.object)
                return;
        field_text(&inner, "kind", &j->failed_kind);
        field_text(&inner, "stage", &j->failed_stage);
        field_text(&inner, "cause", &j->cause);
        field_file_name(&inner, "evidence", &j->evidence);
        f->r = inner.r;
}

int journal_parse(const void *data, size_t size, Journal *ret, Why *why)
{
        _cleanup_(journal_done) Journal j = { 0 };
        Fields f = { .what = "journal", .why = why };
        int r;

        r = document_parse(data, size, "journal", &j.unknown, why);
        if (r < 0)
                return r;
        f.object = j.unknown;
        parse_names(&f, &j);
        field_text(&f, "updateId", &j.update_id);
        field_text(&f, "message", &j.message);
        parse_release(&f, &j);
        parse_target(&f, &j);
        parse_reboot(&f, &j);
        parse_failure(&f, &j);
        check_phase(&f, &j);
        if (f.r < 0)
                return f.r;
        *ret = j;
        j = (Journal){ 0 };
        return 0;
}

/* formatting */

static void format_files(Json *doc, const Journal *j)
{
        Json *array;

        if (j->n_files == 0) {
                json_remove(doc, "files");
                return;
        }
        array = json_new_array();
        for (size_t i = 0; i < j->n_files; i++) {
                const JournalFile *f = &j->files[i];
                Json *item = json_new_object();

                json_merge(item, f->unknown);
                member_text(item, "kind", f->kind);
                member_text(item, "name", f->name);
                member_u64(item, "size", f->size, true);
                member_text(item, "sha256", f->sha256);
                member_bool(item, "carried", f->carried);
                json_add(array, item);
        }
        json_set(doc, "files", array);
}

static void format_release(Json *doc, const Journal *j)
{
        member_text(doc, "version", j->version);
        member_u64(doc, "serial", j->serial, j->serial > 0);
        member_u64(doc, "floorSerial", j->floor_serial, j->floor_serial > 0);
        member_text(doc, "product", j->product);
        member_text(doc, "releaseSha256", j->release_sha256);
        member_text(doc, "source", j->source);
        member_time(doc, "issued", j->issued);
        member_u64_list(doc, "revokedSerials", j->revoked_serials, j->n_revoked_serials);
        member_text_list(doc, "revokedRoothashes", j->revoked_roothashes);
}

static void format_target(Json *doc, const Journal *j)
{
        member_slot(doc, "slot", j->slot);
        member_text(doc, "roothash", j->roothash);
        member_text(doc, "ukiSha256", j->uki_sha256);
        member_text(doc, "runningRoothash", j->running_roothash);
        member_u64(doc, "dataSize", j->data_size, j->data_size > 0);
        member_u64(doc, "hashSize", j->hash_size, j->hash_size > 0);
        member_text(doc, "sigSha256", j->sig_sha256);
        member_bool(doc, "slotDirty", j->slot_dirty);
        member_bool(doc, "rollback", j->rollback);
        member_bool(doc, "noReboot", j->no_reboot);
        format_files(doc, j);
        member_text(doc, "entry", j->entry);
        member_u64(doc, "attempt", j->attempt, j->attempt > 0);
        member_bool(doc, "armed", j->armed);
        member_text(doc, "bootId", j->boot_id);
        member_time(doc, "deadline", j->deadline);
}

static void format_reboot(Json *doc, const Journal *j)
{
        member_time(doc, "finalizedAt", j->finalized_at);
        member_time(doc, "rebootAskedAt", j->reboot_asked_at);
        member_u64(doc, "rebootAsks", j->reboot_asks, j->reboot_asks > 0);
        member_text(doc, "rebootBlockedBy", j->reboot_blocked);
        member_bool(doc, "rebootTold", j->reboot_told);
}

static void format_failure(Json *doc, const Journal *j)
{
        Json *failure;

        if (!j->cause) {
                json_remove(doc, "failure");
                return;
        }
        failure = json_sub(doc, "failure");
        member_text(failure, "kind", j->failed_kind);
        member_text(failure, "stage", j->failed_stage);
        member_text(failure, "cause", j->cause);
        member_text(failure, "evidence", j->evidence);
}

int journal_format(const Journal *j, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("journal", j->unknown);

        if (!phase_name(j->phase))
                return -EINVAL;
        json_set_str(doc, "phase", phase_name(j->phase));
        member_text(doc, "outcome", j->outcome != OUTCOME_NONE ? outcome_name(j->outcome) : NULL);
        member_text(doc, "reason", j->reason != REASON_NONE ? reason_name(j->reason) : NULL);
        member_text(doc, "updateId", j->update_id);
        member_text(doc, "message", j->message);
        format_release(doc, j);
        format_target(doc, j);
        format_reboot(doc, j);
        format_failure(doc, j);
        return document_format(doc, ret);
}

/* the file */

int journal_load(const Env *env, Journal *ret, bool *ret_lost, Why *why)
{
        _cleanup_(journal_done) Journal j = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Why lost = { 0 };
        int r;

        r = document_read(env, JOURNAL_NAME, JOURNAL_MAX, &b, &lost, why);
        if (r < 0)
                return r;
        if (r == DOCUMENT_READ) {
                r = journal_parse(b.data, b.size, &j, &lost);
                if (r == -ENOMEM)
                        return r;
        } else
                r = r == DOCUMENT_LOST ? -EBADMSG : 0;
        if (r < 0) {
                j.lost_because = strdup(lost.text);
                if (!j.lost_because)
                        return -ENOMEM;
        }
        *ret_lost = r < 0;
        *ret = j;
        j = (Journal){ 0 };
        return 0;
}

/* What is there now and cannot be read is evidence, perhaps a newer version's memory. */
static void keep_unreadable(const Env *env)
{
        _cleanup_(journal_done) Journal present = { 0 };
        bool lost = false;

        if (journal_load(env, &present, &lost, NULL) >= 0 && lost)
                (void) document_keep_lost(
                        env, JOURNAL_NAME); /* only a copy: the write below does not depend on it */
}

int journal_save(const Env *env, const Journal *j, Why *why)
{
        _cleanup_(journal_done) Journal back = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        Why bug = { 0 };
        int r;

        r = journal_format(j, &text);
        if (r == -ENOMEM)
                return r;
        /* A journal that we could not take back after the plug was pulled must not replace one that we can.
         */
        if (r >= 0)
                r = strlen(text) > JOURNAL_MAX ? -EFBIG : journal_parse(text, strlen(text), &back, &bug);
        if (r < 0)
                return fail(why, r, WHY_HOST, "bug", "%s/%s not written: it could not be read back: %s",
                            STATE_DIR, JOURNAL_NAME, bug.text[0] ? bug.text : "too large");
        keep_unreadable(env);
        return document_write(env, JOURNAL_NAME, text, why);
}

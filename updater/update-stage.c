/* SPDX-License-Identifier: MIT */

/* Step stage: from a believed release to verified bytes in the spare slot and inert files on the ESP. Everything that can
 * be refused is refused above the line at which stage_begin() writes the journal; below it only the spare slot, its own
 * old boot files and names no loader looks at are touched. */

#include "stage.h"
#include "base/str.h"
#include "base/uuid.h"

#include <errno.h>

void stage_done(Stage *s)
{
        s->delta = stage_delta_free(s->delta);
        s->rebuilding = stage_rebuilt_free(s->rebuilding);
        s->writer = slot_writer_free(s->writer);
        boot_plan_done(&s->plan);
        for (size_t i = 0; i < s->n_files; i++)
                pe_summary_done(&s->files[i].pe);
        free(s->files);
        fetch_esp_done(&s->esp);
        bytes_done(&s->signature);
        cosi_done(&s->cosi);
        fetch_cosi_done(&s->container);
}

static int check_quarantine(Stage *s, const char *uki_sha256, Why *why)
{
        _cleanup_(free_charp) char *reason = NULL;
        char id[QUARANTINE_ID_SIZE];
        int r;

        r = quarantine_id(s->u->release.usr.roothash, uki_sha256, id);
        if (r >= 0)
                r = quarantine_has(s->u->env, id, &reason, why);
        if (r <= 0)
                return r;
        (void) fail(why, -EPERM, WHY_POLICY, "quarantined", "%s: this content is in quarantine: %s",
                    s->u->release.version, reason ? reason : "it failed here before");
        return fail_hint(why, -EPERM, "publish a repaired image, or gybe quarantine clear %s", id);
}

/* Is there anything to do at all? Asked before the COSI is opened. */
static int check_needed(Stage *s, Why *why)
{
        Update *u = s->u;
        const Journal *j = &u->host.journal;
        const char *uki = NULL;

        for (size_t i = 0; i < u->release.n_boot; i++)
                if (boot_kind_starts(u->release.boot[i].kind))
                        uki = u->release.boot[i].sha256;
        if (streq(u->release.usr.roothash, u->host.running.roothash))
                return fail(why, -ENODATA, WHY_NOTHING, "running", "%s: this is what runs",
                            u->release.version);
        if ((j->phase == PHASE_STAGED || j->phase == PHASE_FINALIZED) && !j->rollback &&
            streq(j->roothash, u->release.usr.roothash) && uki && streq(j->uki_sha256, uki)) {
                u->already_staged = true;
                return fail(why, -ENODATA, WHY_NOTHING, "staged", "%s: already %s in slot %c",
                            u->release.version, phase_name(j->phase), j->slot);
        }
        return uki ? check_quarantine(s, uki, why) : 0;
}

static int check_spare(Stage *s, Why *why)
{
        SlotNeed need = {
                .data_size = s->u->release.usr.data_size,
                .hash_size = s->u->release.usr.hash_size,
                .sig_size = s->signature.size,
                .inline_hash = s->cosi.usr->inline_verity || s->u->host.boot->ops->inline_tree,
        };

        return slot_check_spare(s->u->host.disk, &s->u->host.layout, &s->u->host.running, s->target, &need,
                                why);
}

/* The slot that runs was never installed by us: what the way back consists of is recorded before we leave it. */
static int adopt_running(Update *u, Why *why)
{
        SlotRecord rec = { 0 };
        int r;

        if (host_running_record(&u->host) || !u->host.running.roothash[0] ||
            !u->host.boot_state.default_name[0])
                return 0;
        memcpy(rec.roothash, u->host.running.roothash, sizeof(rec.roothash));
        rec.committed_at = env_now(u->env);
        rec.has_serial = u->host.trust.has_running_serial;
        rec.serial = u->host.trust.running_serial;
        r = u->host.boot->ops->digests(u->host.boot, u->host.boot_state.default_name, &rec.files,
                                       rec.uki_sha256, why);
        if (r >= 0 && u->host.version && !(rec.version = strdup(u->host.version)))
                r = -ENOMEM;
        if (r >= 0 && !(rec.entry = strdup(u->host.boot_state.default_name)))
                r = -ENOMEM;
        if (r >= 0)
                r = trust_state_put_slot(&u->host.trust, &rec);
        slot_record_done(&rec);
        return r;
}

static int copy_str(char **dst, const char *src)
{
        char *copy = src ? strdup(src) : NULL;

        if (src && !copy)
                return -ENOMEM;
        free(*dst);
        *dst = copy;
        return 0;
}

static int journal_files(Stage *s, Journal *j)
{
        j->files = calloc(MAX(s->plan.n_files, (size_t) 1), sizeof(*j->files));
        if (!j->files)
                return -ENOMEM;
        for (size_t i = 0; i < s->plan.n_files; i++) {
                const BootFile *f = &s->plan.files[i];
                JournalFile *jf = &j->files[i];

                jf->kind = strdup(boot_kind_name(f->kind));
                jf->name = strdup(f->name ? f->name : "");
                if (!jf->kind || !jf->name)
                        return -ENOMEM;
                jf->size = f->size;
                memcpy(jf->sha256, f->sha256, sizeof(jf->sha256));
                jf->carried = f->carried;
                j->n_files = i + 1;
        }
        return 0;
}

static int journal_revocations(Update *u, Journal *j)
{
        const Release *rel = &u->release;
        int r;

        if (rel->n_revoked_serials > 0) {
                j->revoked_serials = calloc(rel->n_revoked_serials, sizeof(uint64_t));
                if (!j->revoked_serials)
                        return -ENOMEM;
                memcpy(j->revoked_serials, rel->revoked_serials, rel->n_revoked_serials * sizeof(uint64_t));
                j->n_revoked_serials = rel->n_revoked_serials;
        }
        for (char **h = rel->revoked_roothashes; h && *h; h++) {
                r = strv_add(&j->revoked_roothashes, *h);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A new transaction replaces what the journal said; unknown fields of another gybe version survive. */
static int begin_journal(Stage *s, Journal *j)
{
        Update *u = s->u;
        const Release *rel = &u->release;
        char id[37];
        int r;

        journal_begin(j);
        r = uuid_random(id);
        if (r < 0 || (r = copy_str(&j->update_id, id)) < 0 || (r = copy_str(&j->version, rel->version)) < 0 ||
            (r = copy_str(&j->product, rel->product)) < 0 ||
            (r = copy_str(&j->release_sha256, u->has_release ? u->release_sha256 : NULL)) < 0 ||
            (r = copy_str(&j->source, u->source_text)) < 0 || (r = journal_files(s, j)) < 0 ||
            (r = journal_revocations(u, j)) < 0)
                return r;
        r = attempts_get(u->env, rel->usr.roothash, stage_uki(s)->sha256, &j->attempt);
        if (r < 0)
                return r;
        j->phase = PHASE_TRUSTED;
        j->slot_dirty = true;
        j->serial = rel->serial;
        j->floor_serial = rel->floor_serial;
        j->issued = rel->issued;
        j->slot = *slot_name(s->target);
        j->data_size = rel->usr.data_size;
        j->hash_size = rel->usr.hash_size;
        memcpy(j->roothash, rel->usr.roothash, sizeof(j->roothash));
        memcpy(j->uki_sha256, stage_uki(s)->sha256, sizeof(j->uki_sha256));
        memcpy(j->running_roothash, u->host.running.roothash, sizeof(j->running_roothash));
        return 0;
}

/* A staged or finalized update makes way. The order is: out of the boot loader's reach, journal, first block. */
static int supersede(Update *u, Why *why)
{
        _cleanup_(json_unrefp) Json *more = NULL;
        const Journal *j = &u->host.journal;
        int r;

        if (j->phase == PHASE_FINALIZED && (r = update_unarm(u, why)) < 0)
                return r;
        if (j->phase != PHASE_STAGED && j->phase != PHASE_FINALIZED)
                return 0;
        more = json_new_object();
        json_set_str(more, "outcome", outcome_name(OUTCOME_SUPERSEDED));
        json_set_str(more, "supersededBy", u->release.version);
        return update_record(u, "superseded", more, why);
}

static int stage_begin(Stage *s, Why *why)
{
        Update *u = s->u;
        int r;

        /* The default first: what is recorded as the way back is what a boot without one-shot will start. */
        if ((r = supersede(u, why)) < 0 ||
            (r = u->host.boot->ops->prove_default(u->host.boot, (int) u->host.running.slot, why)) < 0 ||
            (r = host_refresh_boot(&u->host, why)) < 0 || (r = adopt_running(u, why)) < 0 ||
            (r = trust_state_save(u->env, &u->host.trust, why)) < 0)
                return r;
        r = begin_journal(s, &u->host.journal);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "starting a transaction");
        r = update_save(u, why);
        return r < 0 ? r : u->host.boot->ops->retire(u->host.boot, (int) s->target, why);
}

/* --- bytes --- */

/* Of the way that was taken; NULL before the first byte. */
static const SlotCount *stage_count(const Stage *s)
{
        return s->writer ? slot_writer_count(s->writer) : s->delta ? stage_delta_count(s->delta) : NULL;
}

void stage_show(Stage *s, const char *what, uint64_t done, uint64_t total)
{
        Update *u = s->u;
        const SlotCount *c = stage_count(s);

        u->progress.what = what;
        u->progress.done = done;
        u->progress.total = total;
        u->progress.fetched = fetch_bytes(u->fetch);
        if (c) {
                u->progress.skipped = c->skipped;
                u->progress.written = c->written;
                u->progress.copied = c->copied;
                u->progress.rebuilt = c->rebuilt;
        }
        if (u->options.progress)
                u->options.progress(u->options.ctx, &u->progress);
}

typedef struct UsrSink {
        Stage *stage;
        uint64_t at; /* of the data image; an inline tree behind it is not taken */
        uint64_t read_back;
} UsrSink;

/* Neighbours feel both: what is written, and what is read back behind it. */
static int pace_usr(UsrSink *k, uint64_t size, Why *why)
{
        uint64_t before = k->read_back, total = k->stage->u->release.usr.data_size;

        k->read_back = slot_writer_count(k->stage->writer)->read_back;
        stage_show(k->stage, "staging", MIN(k->at, total), total);
        return update_pace(k->stage->u, size + k->read_back - before, why);
}

static int usr_data(void *ctx, const void *data, size_t size, Why *why)
{
        UsrSink *k = ctx;
        uint64_t total = k->stage->u->release.usr.data_size;
        size_t n = (size_t) MIN((uint64_t) size, total - MIN(k->at, total));
        int r = n > 0 ? slot_writer_put(k->stage->writer, data, n, why) : 0;

        k->at += size;
        return r < 0 ? r : pace_usr(k, size, why);
}

static int usr_zero(void *ctx, uint64_t size, Why *why)
{
        UsrSink *k = ctx;
        uint64_t total = k->stage->u->release.usr.data_size;
        uint64_t n = MIN(size, total - MIN(k->at, total));
        int r = n > 0 ? slot_writer_zero(k->stage->writer, n, why) : 0;

        k->at += size;
        return r < 0 ? r : pace_usr(k, size, why);
}

static int verify_progress(void *ctx, uint64_t done, uint64_t total)
{
        Stage *s = ctx;
        uint64_t before = streq0(s->u->progress.what, "verifying") ? s->u->progress.done : s->read_back;

        stage_show(s, "verifying", done, total);
        return update_pace(s->u, done - MIN(before, done), NULL);
}

static int stream_usr(Stage *s, Why *why)
{
        UsrSink usr = { .stage = s };
        FetchSink sink = { .data = usr_data, .zero = usr_zero, .ctx = &usr };
        uint8_t expect[VERITY_ROOT_SIZE], root[VERITY_ROOT_SIZE];
        char got[65];
        int r;

        if ((r = hex_decode(s->u->release.usr.roothash, expect, sizeof(expect))) < 0 ||
            (r = slot_writer_open(s->u->host.disk, s->parts, &s->verity, &s->writer, why)) < 0 ||
            (r = fetch_member(s->u->fetch, &s->cosi.usr->image, s->u->host.config.max_window_log, s->kind,
                              &sink, why)) < 0)
                return r;
        s->read_back = slot_writer_count(s->writer)->read_back;
        slot_writer_set_progress(s->writer, verify_progress, s);
        r = slot_writer_finish(s->writer, expect, root, why);
        if (r < 0)
                return r;
        s->sealed = r > 0;
        hex_encode(root, sizeof(root), got);
        if (!streq(got, s->u->release.usr.roothash))
                return fail(why, -EBADMSG, WHY_TRUST, "root-hash",
                            "/usr image: its root hash is %.16s..., the release says %.16s...", got,
                            s->u->release.usr.roothash);
        return 0;
}

/* By parts where that is possible, else as a whole. A whole image is held to its signed digest and brings its hash image along;
 * parts are held to the root hash alone. */
static int write_usr(Stage *s, Why *why)
{
        int r = stage_rebuild(s, why);

        if (r >= 0)
                r = stage_delta_plan_blocks(s, why);
        if (r > 0)
                r = stage_delta_assemble(s, why);
        if (r != 0) {
                s->sealed = r > 0;
                return r;
        }
        if (s->container.has_ranges && (r = stage_check_hash_image(s, why)) < 0)
                return r;
        r = stream_usr(s, why);
        return r < 0 ? r : stage_check_hash_image(s, why);
}

typedef struct EspSink {
        Boot *boot;
} EspSink;

static int esp_data(void *ctx, const void *data, size_t size, Why *why)
{
        EspSink *k = ctx;

        return k->boot->ops->file_write(k->boot, data, size, why);
}

static int esp_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zero[4096];

        while (size > 0) {
                size_t n = (size_t) MIN(size, (uint64_t) sizeof(zero));
                int r = esp_data(ctx, zero, n, why);
                if (r < 0)
                        return r;
                size -= n;
        }
        return 0;
}

static int write_boot_files(Stage *s, Why *why)
{
        Boot *boot = s->u->host.boot;
        EspSink esp = { .boot = boot };
        FetchSink sink = { .data = esp_data, .zero = esp_zero, .ctx = &esp };

        for (size_t i = 0; i < s->plan.n_files; i++) {
                const BootFile *f = &s->plan.files[i];
                int r;

                if (f->carried)
                        r = boot->ops->copy_carried(boot, f, why);
                else if ((r = boot->ops->file_begin(boot, f, why)) >= 0 &&
                         (r = fetch_esp_read(s->u->fetch, &s->esp, s->files[f->source].at, &sink, why)) >= 0)
                        r = boot->ops->file_end(boot, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Written, read back, and remembered for finalize: what the initrd finds there may keep it from going on. */
static int write_signature(Stage *s, Why *why)
{
        char *digest = s->u->host.journal.sig_sha256;
        Disk *disk = s->u->host.disk;
        int r;

        if (!s->parts->sig)
                return 0;
        if ((r = slot_write_sig(disk, s->parts, s->signature.data, s->signature.size, why)) < 0 ||
            (r = slot_sig_digest(s->parts, s->signature.data, s->signature.size, digest)) < 0)
                return r;
        return slot_check_sig(disk, s->parts, digest, why);
}

static int stage_bytes(Stage *s, Why *why)
{
        uint8_t expect[VERITY_ROOT_SIZE];
        int r;

        if ((r = write_usr(s, why)) < 0 || (r = fetch_cosi_finish(s->u->fetch, why)) < 0 ||
            (r = write_signature(s, why)) < 0 || (r = write_boot_files(s, why)) < 0 ||
            (r = hex_decode(s->u->release.usr.roothash, expect, sizeof(expect))) < 0 ||
            (!s->sealed && (r = slot_verify(s->u->host.disk, s->parts, expect, verify_progress, s, why)) < 0))
                return r;
        return s->u->host.boot->ops->check(s->u->host.boot, (int) s->target, NULL, &s->plan,
                                           s->u->release.usr.roothash, why);
}

static Json *stage_story(const Stage *s)
{
        const SlotCount *c = stage_count(s);
        Json *more = json_new_object(), *keys = json_new_array(), *bytes = json_new_object();

        for (char **k = s->u->signed_by; k && *k; k++)
                json_add_str(keys, *k);
        json_set_str(more, "source", s->u->source_text);
        json_set_str(more, "anchor", s->u->anchor_name);
        json_set(more, "keys", keys);
        json_set_str(more, "releaseSha256", s->u->has_release ? s->u->release_sha256 : NULL);
        json_set_u64(bytes, "fetched", fetch_bytes(s->u->fetch));
        json_set_u64(bytes, "written", c->written);
        json_set_u64(bytes, "skipped", c->skipped);
        json_set_u64(bytes, "copied", c->copied);
        json_set_u64(bytes, "rebuilt", c->rebuilt);
        json_set(more, "bytes", bytes);
        json_set_u64(more, "yieldedMs", pace_yielded_us(s->u->pace) / 1000);
        if (s->u->options.allow_downgrade)
                json_set_bool(more, "allowDowngrade", true);
        return more;
}

/* A refusal after bytes were written: the slot stays marked unusable, the refusal is remembered. */
static int stage_refused(Stage *s, int error, const Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Update *u = s->u;
        Why ignored = { 0 };

        json_set_str(more, "code", why->code);
        json_set_str(more, "message", why->text);
        if (why->kind == WHY_TRUST || why->kind == WHY_IMAGE) {
                u->host.journal.phase = PHASE_IDLE;
                u->host.journal.outcome = OUTCOME_REJECTED;
                (void) copy_str(&u->host.journal.message, why->text);
                json_set_str(more, "outcome", outcome_name(OUTCOME_REJECTED));
        }
        /* The sentence that matters is the first one; when these fail too, recovery finds the slot dirty. */
        (void) update_record(u, "stage-failed", more, &ignored);
        (void) update_save(u, &ignored);
        return error;
}

/* Taking a release is what the operator's rules are about; what is here already needs no word. */
static int check_wanted(Stage *s, Why *why)
{
        int r = check_needed(s, why);

        return r < 0 ? r : update_ask(s->u, POLICY_FETCH, why);
}

/* All that can be refused without a byte written. */
static int stage_check(Stage *s, Why *why)
{
        int r;

        if ((s->u->has_release && (r = check_wanted(s, why)) < 0) || (r = stage_open_image(s, why)) < 0 ||
            (!s->u->has_release && (r = check_wanted(s, why)) < 0) || (r = check_spare(s, why)) < 0 ||
            (r = stage_read_esp(s, why)) < 0 || (r = check_quarantine(s, stage_uki(s)->sha256, why)) < 0 ||
            (r = stage_check_chain(s, why)) < 0 || (r = stage_plan_boot(s, why)) < 0 ||
            (r = stage_find_verity(s, why)) < 0)
                return r;
        return 0;
}

/* The same image was being written there when something ended it. */
static bool resumes(const Stage *s)
{
        const Journal *j = &s->u->host.journal;

        return j->phase == PHASE_TRUSTED && j->slot_dirty && s->u->has_release &&
               j->slot == *slot_name(s->target) && streq(j->roothash, s->u->release.usr.roothash);
}

/* As far as staging goes without an order: nothing is written, and no content is fetched. */
int update_plan(Update *u, Json **ret, Why *why)
{
        _cleanup_(stage_done) Stage s = { .u = u };
        int r;

        if ((r = host_require(&u->host, why)) < 0 || (r = update_find(u, why)) < 0 ||
            (r = update_admit(u, why)) < 0)
                return r;
        s.kind = u->has_release ? WHY_TRUST : WHY_IMAGE;
        s.target = slot_other(u->host.running.slot);
        s.parts = &u->host.layout.slot[s.target];
        s.resumes = resumes(&s);
        if ((r = stage_open_image(&s, why)) < 0 || (r = check_needed(&s, why)) < 0 ||
            (r = check_spare(&s, why)) < 0 || (r = stage_find_verity(&s, why)) < 0 ||
            (r = stage_delta_plan_blocks(&s, why)) < 0)
                return r;
        return stage_plan_json(&s, ret, why);
}

int update_fill_slot(Update *u, Why *why)
{
        _cleanup_(stage_done) Stage s = { .u = u, .kind = u->has_release ? WHY_TRUST : WHY_IMAGE };
        _cleanup_(json_unrefp) Json *more = NULL;
        int r;

        s.target = slot_other(u->host.running.slot);
        s.parts = &u->host.layout.slot[s.target];
        s.resumes = resumes(&s);
        r = stage_check(&s, why);
        if (r < 0)
                return r;
        update_omaha_downloads(u);
        r = stage_begin(&s, why);
        if (r >= 0)
                r = stage_bytes(&s, why);
        if (r < 0)
                return stage_refused(&s, r, why);
        more = stage_story(&s);
        u->host.journal.slot_dirty = false;
        u->host.journal.phase = PHASE_STAGED;
        r = update_record(u, "staged", more, why);
        return r < 0 ? r : update_save(u, why);
}

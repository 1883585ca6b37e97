/* SPDX-License-Identifier: MIT */

/* What lies on the ESP comes first, what was recorded of it is held against it. Texts of the ESP may be anybody's: they are made
 * valid, and told. */

#include "slot-diff.h"
#include "status.h"
#include "base/str.h"
#include "base/utf8.h"
#include "bootloader/cmdline.h"
#include "control/record-roots.h"
#include "control/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const SlotFact facts[] = {
        { "slot", "slot", SLOT_FACT_TEXT, false },
        { "state", "state", SLOT_FACT_TEXT, false },
        { "version", "version", SLOT_FACT_TEXT, true },
        { "serial", "serial", SLOT_FACT_TEXT, true },
        { "roothash", "root hash", SLOT_FACT_DIGESTS, true },
        { "committedAt", "kept since", SLOT_FACT_TEXT, false },
        { "decidedAt", "decided at", SLOT_FACT_TEXT, false },
        { "decidedBy", "decided by", SLOT_FACT_TEXT, false },
        { "decidedHow", "decided over", SLOT_FACT_TEXT, false },
        { "releaseSha256", "release", SLOT_FACT_DIGESTS, false },
        { "keys", "signed with", SLOT_FACT_DIGESTS, false },
        { "source", "came from", SLOT_FACT_TEXT, false },
        { "data", "data size", SLOT_FACT_SIZE, true },
        { "hash", "hash size", SLOT_FACT_SIZE, true },
        { "sig", "signature size", SLOT_FACT_SIZE, true },
        { "bootEntry", "boot entry", SLOT_FACT_TEXT, false },
        { "ukiSha256", "UKI", SLOT_FACT_DIGESTS, true },
        { "ukiSize", "UKI size", SLOT_FACT_SIZE, true },
        { "osVersion", "UKI's version", SLOT_FACT_TEXT, true },
        { "kernel", "kernel", SLOT_FACT_TEXT, true },
};

const SlotFact *slot_fact_find(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(facts); i++)
                if (streq(facts[i].name, name))
                        return &facts[i];
        return NULL;
}

typedef struct Side {
        SlotId slot;
        Json *json;                   /* owned by the document */
        const Json *found, *recorded; /* {file of its addon folder: SHA-256}, the UKI as "" */
        char **words;                 /* of its command line */
} Side;

typedef struct SlotDiff {
        const Host *host;
        Side side[2]; /* the one that runs, the other one */
        Json *problems;
        Json *maps; /* keeps found and recorded */
} SlotDiff;

static int set_text(Json *j, const char *key, const char *text)
{
        _cleanup_(free_charp) char *copy = text ? strdup(text) : NULL;

        if (text && !copy)
                return -ENOMEM;
        if (copy)
                utf8_repair(copy);
        json_set_str(j, key, copy);
        return 0;
}

static bool is_target(const Host *h, SlotId s)
{
        return h->journal.slot == *slot_name(s) && h->journal.phase >= PHASE_STAGED && !h->journal.slot_dirty;
}

/* --- what was recorded --- */

/* A path of trust.json: what starts is "", what lies in its folder has its name. */
static int add_record(void *ctx, const char *path, const Json *value)
{
        const char *slash = strrchr(path, '/');
        bool folder = slash && (size_t) (slash - path) > strlen(".extra.d") &&
                      strncmp(slash - strlen(".extra.d"), ".extra.d", strlen(".extra.d")) == 0;

        json_set_str(ctx, folder ? slash + 1 : "", json_str(value));
        return 0;
}

/* 1: there is a record. */
static int find_recorded(const Host *h, Side *side, Json *out)
{
        const char *roothash = json_get_str(side->json, "roothash");
        const SlotRecord *rec = roothash ? trust_state_slot(&h->trust, roothash) : NULL;

        if (is_target(h, side->slot) && h->journal.n_files > 0) {
                for (size_t i = 0; i < h->journal.n_files; i++) {
                        const JournalFile *f = &h->journal.files[i];
                        BootKind kind = f->kind ? boot_kind_from_name(f->kind) : _BOOT_KIND_INVALID;

                        if (kind >= 0 && boot_kind_starts(kind))
                                json_set_str(out, "", f->sha256);
                        else if (kind == BOOT_ADDON || kind == BOOT_CRED)
                                json_set_str(out, f->name, f->sha256);
                }
                json_set_str(side->json, "recordedIn", "journal");
                return 1;
        }
        if (!rec || !rec->files)
                return 0;
        json_set_str(side->json, "recordedIn", "trust");
        (void) json_each(rec->files, add_record, out);
        return 1;
}

/* --- differences of two lists of files --- */

typedef struct FileDiff {
        const Json *other;
        Json *out;
        const char *first, *second; /* what the two are called */
        bool back;                  /* only what the first one does not have */
} FileDiff;

/* FAT knows no case. */
typedef struct Lookup {
        const char *name, *sha256;
} Lookup;

static int look_up(void *ctx, const char *key, const Json *value)
{
        Lookup *l = ctx;

        if (str_fold_cmp(key, l->name) != 0)
                return 0;
        l->sha256 = json_str(value);
        return 1;
}

static int compare_file(void *ctx, const char *name, const Json *value)
{
        FileDiff *d = ctx;
        Lookup other = { .name = name };
        const char *sha256 = json_str(value);
        Json *j;

        (void) json_each(d->other, look_up, &other);
        if (d->back ? other.sha256 != NULL : streq0(other.sha256, sha256))
                return 0;
        j = json_new_object();
        json_set_str(j, "name", name[0] ? name : "UKI");
        json_set_str(j, "change", d->back ? "added" : other.sha256 ? "changed" : "removed");
        json_set_str(j, d->first, d->back ? NULL : sha256);
        json_set_str(j, d->second, d->back ? sha256 : other.sha256);
        json_add(d->out, j);
        return 0;
}

static Json *diff_files(const Json *a, const char *first, const Json *b, const char *second)
{
        Json *out = json_new_array();
        FileDiff there = { .other = b, .out = out, .first = first, .second = second },
                 back = { .other = a, .out = out, .first = first, .second = second, .back = true };

        (void) json_each(a, compare_file, &there);
        (void) json_each(b, compare_file, &back);
        return out;
}

/* --- a side --- */

static int add_contents(Side *side, const BootContents *c, Json *found)
{
        Json *addons = json_new_array();
        int r = 0;

        for (size_t i = 0; i < c->n_files; i++) {
                const BootFile *f = &c->files[i];
                _cleanup_(free_charp) char *name = strdup(f->name);
                Json *j;

                if (!name)
                        r = -ENOMEM;
                else if (boot_kind_starts(f->kind)) {
                        utf8_repair(name);
                        json_set_str(side->json, "bootEntry", name);
                        json_set_str(side->json, "ukiSha256", f->sha256);
                        json_set_u64(side->json, "ukiSize", f->size);
                        json_set_str(found, "", f->sha256);
                } else {
                        utf8_repair(name);
                        j = json_new_object();
                        json_set_str(j, "name", name);
                        json_set_str(j, "sha256", f->sha256);
                        json_set_u64(j, "size", f->size);
                        json_add(addons, j);
                        json_set_str(found, name, f->sha256);
                }
        }
        json_set(side->json, "addons", addons);
        if (r < 0 || (r = set_text(side->json, "osVersion", c->version_id)) < 0 ||
            (r = set_text(side->json, "kernel", c->uname)) < 0 ||
            (r = set_text(side->json, "cmdline", c->cmdline)) < 0)
                return r;
        return c->cmdline ? strv_split_words(json_get_str(side->json, "cmdline"), &side->words) : 0;
}

/* Prefers what will boot; an entry that is missing or cannot be read is told, and what was recorded of it stays. */
static int read_contents(SlotDiff *d, Side *side, Json *found)
{
        const Host *h = d->host;
        _cleanup_(boot_contents_done) BootContents c = { 0 };
        const char *entry = json_get_str(side->json, "entry");
        Why why = { 0 };
        int r;

        if (entry || (side == &d->side[1] && is_target(h, side->slot)))
                r = h->boot->ops->contents(h->boot, entry, &c, &why);
        else
                r = fail(&why, -ENOENT, WHY_HOST, "no-entry", "slot %s: no boot entry on the ESP leads to it",
                         slot_name(side->slot));
        if (r >= 0)
                return add_contents(side, &c, found);
        if (r != -ENOMEM)
                record_problem(d->problems, &why);
        return r == -ENOMEM ? r : 0;
}

static void add_decision(Side *side, const Json *event)
{
        static const char *const pairs[][2] = {
                { "decidedAt", "time" },
                { "decidedBy", "by" },
                { "decidedHow", "how" },
        };
        const char *by = json_get_str(event, "by");
        char number[32];
        uint64_t uid;

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                json_remove(side->json, pairs[i][0]);
                json_set_str(side->json, pairs[i][0], json_get_str(event, pairs[i][1]));
        }
        if (by || json_get_u64(event, "uid", &uid) <= 0)
                return;
        (void) snprintf(number, sizeof(number), "uid %" PRIu64, uid);
        json_set_str(side->json, "decidedBy", number);
}

/* Oldest first: what comes later counts. A commit is nobody's decision but the health checks'. */
static void add_history(Side *side, const Json *events)
{
        const char *roothash = json_get_str(side->json, "roothash");

        json_foreach (e, events) {
                const char *event = json_get_str(e, "event"), *its = json_get_str(e, "roothash");
                bool staged = streq0(event, "staged");

                if (!roothash || !its || !streq(roothash, its) || (!staged && !streq0(event, "finalized")))
                        continue;
                add_decision(side, e);
                if (!staged)
                        continue;
                json_set_str(side->json, "releaseSha256", json_get_str(e, "releaseSha256"));
                json_set_str(side->json, "source", json_get_str(e, "source"));
                if (json_get(e, "keys"))
                        json_set(side->json, "keys", json_ref(json_get(e, "keys")));
        }
}

static int fill_side(SlotDiff *d, Side *side, const Json *events)
{
        Json *found = json_new_object(), *recorded = json_new_object();
        int r;

        json_add(d->maps, found);
        json_add(d->maps, recorded);
        side->found = found;
        side->recorded = recorded;
        json_set_str(side->json, "slot", slot_name(side->slot));
        json_remove(side->json, "running");
        add_history(side, events);
        if (is_target(d->host, side->slot) && d->host->journal.release_sha256)
                json_set_str(side->json, "releaseSha256", d->host->journal.release_sha256);
        r = read_contents(d, side, found);
        if (r < 0)
                return r;
        if (find_recorded(d->host, side, recorded) > 0 && json_members(found) > 0)
                json_set(side->json, "notAsRecorded", diff_files(recorded, "recorded", found, "found"));
        return 0;
}

/* --- both --- */

static void value_text(const Json *side, const char *name, Str *out)
{
        const Json *v = json_get(side, name);
        uint64_t n;

        if (json_is_object(v))
                v = json_get(v, "size"); /* a partition */
        if (json_str(v))
                str_add(out, json_str(v));
        else if (json_is_array(v)) {
                json_foreach (item, v)
                        str_addf(out, "%s%s", out->size > 0 ? "," : "",
                                 json_str(item) ? json_str(item) : "?");
        } else if (v && json_u64(v, &n) > 0)
                str_addf(out, "%" PRIu64, n);
}

/* *ret_content: something that is content was among them. */
static int diff_facts(const SlotDiff *d, Json **ret, bool *ret_content)
{
        Json *out = json_new_array();
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(facts); i++) {
                const SlotFact *f = &facts[i];
                _cleanup_(free_charp) char *running = NULL, *other = NULL;
                Str s[2] = { STR_NULL, STR_NULL };
                Json *j;

                value_text(d->side[0].json, f->name, &s[0]);
                value_text(d->side[1].json, f->name, &s[1]);
                running = str_take(&s[0]);
                other = str_take(&s[1]);
                r = running && other ? 0 : -ENOMEM;
                if (r < 0 || streq(running, other))
                        continue;
                j = json_new_object();
                json_set_str(j, "name", f->name);
                json_set_str(j, "running", running[0] ? running : NULL);
                json_set_str(j, "other", other[0] ? other : NULL);
                json_add(out, j);
                *ret_content = *ret_content || f->content;
        }
        *ret = out;
        return r;
}

/* It says which slot it is, and nothing else: true of every entry. */
static bool names_itself(const SlotDiff *d, const Side *side, const char *word)
{
        const SlotParts *parts = &d->host->layout.slot[side->slot];
        const Partition *own[] = { parts->data, parts->hash, parts->sig };
        const char *value = strchr(word, '=');

        if (!value)
                return false;
        if (str_starts(word, "acl.slot="))
                return streq(value + 1, slot_name(side->slot));
        for (size_t i = 0; i < ELEMENTSOF(own); i++)
                if (own[i] && str_starts(value + 1, "PARTUUID=") &&
                    str_fold_cmp(value + 1 + strlen("PARTUUID="), own[i]->partuuid) == 0)
                        return true;
        return false;
}

/* The same word of the other slot: the argument alone, what it names is its slot's own. */
static bool has_its_like(const SlotDiff *d, const Side *side, const char *word)
{
        size_t length = strcspn(word, "=");

        for (char **w = side->words; w && *w; w++)
                if (strncmp(*w, word, length + 1) == 0 && names_itself(d, side, *w))
                        return true;
        return false;
}

static Json *words_only_in(const SlotDiff *d, size_t i, bool *ret_content)
{
        const Side *mine = &d->side[i], *its = &d->side[1 - i];
        Json *out = json_new_array();

        for (char **w = mine->words; w && *w; w++) {
                if (its->words && strv_has(its->words, *w))
                        continue;
                json_add_str(out, *w);
                *ret_content = *ret_content || !names_itself(d, mine, *w) || !has_its_like(d, its, *w);
        }
        return out;
}

/* The addon that names the slot differs as the slots do; what it says has been compared as words. */
static bool is_slot_addon(const Json *file)
{
        const char *name = json_get_str(file, "name");

        return name && addon_slot_by_name(name) >= 0;
}

static int compare(SlotDiff *d, Json *out)
{
        Json *differs = json_new_object(), *cmdline = json_new_object(), *rows = NULL, *files,
             *addons = json_new_array();
        bool content = false;
        int r = diff_facts(d, &rows, &content);

        json_set(differs, "facts", rows);
        files = diff_files(d->side[0].found, "running", d->side[1].found, "other");
        json_foreach (f, files) {
                if (streq0(json_get_str(f, "name"), "UKI"))
                        continue; /* told as a fact */
                json_add(addons, json_ref(f));
                content = content || !is_slot_addon(f);
        }
        json_unref(files);
        json_set(differs, "files", addons);
        json_set(cmdline, "running", words_only_in(d, 0, &content));
        json_set(cmdline, "other", words_only_in(d, 1, &content));
        json_set(differs, "cmdline", cmdline);
        json_set_bool(out, "same", !content);
        json_set(out, "differs", differs);
        return r;
}

/* The whole history, as `gybe audit` has it; a chain that breaks is told, for its lines name people. */
static Json *read_events(SlotDiff *d)
{
        Json *history = NULL;
        uint64_t broken = 0;
        Why why = { 0 };

        (void) record_history(d->host->env, RECORD_HISTORY_ALL, &history, &broken, &why);
        if (broken > 0)
                (void) fail(&why, -EBADMSG, WHY_HOST, "history-broken",
                            "history: the hash chain breaks at line %" PRIu64, broken);
        if (why.kind != WHY_NONE)
                record_problem(d->problems, &why);
        return history;
}

static bool knows_other(const Host *h, SlotId other, const Json *side)
{
        if (h->journal.slot == *slot_name(other) && h->journal.slot_dirty)
                return false; /* half of something */
        return json_get_str(side, "entry") || is_target(h, other);
}

static int build(SlotDiff *d, Json *out)
{
        _cleanup_(json_unrefp) Json *history = read_events(d);
        int r = 0;

        for (size_t i = 0; r >= 0 && i < 2; i++)
                r = fill_side(d, &d->side[i], json_get(history, "events"));
        if (r >= 0)
                r = compare(d, out);
        return r;
}

int slot_diff(const Host *h, Json **ret, Why *why)
{
        _cleanup_(json_unrefp) Json *out = json_new_object(), *maps = json_new_array();
        SlotDiff d = { .host = h, .problems = json_new_array(), .maps = maps };
        int r = host_require(h, why);

        json_set_str(out, "schema", "gybe.slot-diff/1");
        for (size_t i = 0; r >= 0 && i < 2; i++) {
                d.side[i].slot = i == 0 ? h->running.slot : slot_other(h->running.slot);
                d.side[i].json = status_slot_json(h, d.side[i].slot);
                json_set(out, i == 0 ? "running" : "other", d.side[i].json);
        }
        json_set(out, "problems", d.problems);
        if (r >= 0 && !knows_other(h, d.side[1].slot, d.side[1].json))
                r = fail(why, -ENODATA, WHY_NOTHING, "nothing-to-compare",
                         "slot %s: the other slot holds nothing that gybe knows", slot_name(d.side[1].slot));
        if (r >= 0)
                r = build(&d, out);
        for (size_t i = 0; i < 2; i++)
                strv_free(d.side[i].words);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "comparing the two slots");
        *ret = TAKE(out);
        return 0;
}

/* SPDX-License-Identifier: MIT */

/* What this host has come to believe: how far back it may go, what is revoked, which content was committed
 * and how it looked on the ESP then. formats.md section 7, field by field:
 *
 * {"schema": "gybe.trust/1", "runningSerial": 2026110400, "highWaterSerial": 2026090900, "feedSerials":
 * {"PRODUCT URL": 17}, "revokedSerials": [], "revokedRoothashes": [], "timeFloor": "2026-11-04T06:00:00Z",
 *  "slots": {"<roothash>": {"serial": 2026110400, "version": "…", "ukiSha256": "…", "entry": "…",
 *                           "files": {"EFI/Linux/vmlinuz-101-azlb0.efi": "<sha256>"}, "committedAt": "…"}}}
 *
 * The high-water serial and the time floor only rise: whoever changes them uses the two helpers. Nothing here
 * judges. */

#include "state/document.h"
#include "base/str.h"

#include <errno.h>

#define TRUST_NAME        "trust.json"
#define TRUST_MAX         (4u * 1024u * 1024u)
#define TRUST_REVOKED_MAX 4096u /* more revoked releases than anybody will publish; the oldest give way */
#define TRUST_SLOTS_MAX   64u   /* read; see below for how many are kept */
#define TRUST_SLOTS_KEPT                                                                                     \
        8u /* two slots are on the disk; the others explain history after a disk was copied */
#define TRUST_FEEDS_MAX 256u

void slot_record_done(SlotRecord *r)
{
        free(r->version);
        free(r->entry);
        json_unrefp(&r->files);
        json_unrefp(&r->unknown);
        *r = (SlotRecord){ 0 };
}

void trust_state_done(TrustState *t)
{
        for (size_t i = 0; i < t->n_slots; i++)
                slot_record_done(&t->slots[i]);
        free(t->slots);
        free(t->revoked_serials);
        strv_freep(&t->revoked_roothashes);
        json_unrefp(&t->feed_serials);
        json_unrefp(&t->unknown);
        free(t->lost_because);
        *t = (TrustState){ 0 };
}

/* parsing */

static int check_digest_member(void *ctx, const char *key _unused_, const Json *value)
{
        char hex[65];

        if (!json_str(value) || hex_normalize(json_str(value), 64, hex) < 0)
                (void) field_wrong(ctx, "files", "not a digest for each path");
        return 0;
}

static int check_serial_member(void *ctx, const char *key _unused_, const Json *value)
{
        uint64_t v;

        if (json_u64(value, &v) <= 0)
                (void) field_wrong(ctx, "feedSerials", "not a whole number for each feed");
        return 0;
}

typedef struct SlotsReader {
        TrustState *trust;
        Fields *fields;
} SlotsReader;

static int parse_slot(void *ctx, const char *key, const Json *value)
{
        SlotsReader *s = ctx;
        SlotRecord *r = &s->trust->slots[s->trust->n_slots];
        Fields f = { .object = value, .what = "trust", .why = s->fields->why };

        s->trust->n_slots++;
        if (hex_normalize(key, 64, r->roothash) < 0 || !json_is_object(value))
                return field_wrong(s->fields, "slots", "not an object for each root hash");
        r->has_serial = json_get(value, "serial") != NULL;
        field_u64(&f, "serial", &r->serial);
        field_text(&f, "version", &r->version);
        field_digest(&f, "ukiSha256", r->uki_sha256);
        field_file_name(&f, "entry", &r->entry);
        r->files = json_ref(field_object(&f, "files"));
        (void) json_each(r->files, check_digest_member, &f);
        field_time(&f, "committedAt", &r->committed_at);
        r->unknown = json_ref(value);
        s->fields->r = f.r;
        return f.r;
}

static void parse_slots(Fields *f, TrustState *t)
{
        const Json *slots = field_object(f, "slots");
        SlotsReader reader = { .trust = t, .fields = f };
        size_t n = json_members(slots);

        if (n > TRUST_SLOTS_MAX)
                (void) field_wrong(f, "slots", "too many");
        if (f->r < 0 || n == 0)
                return;
        t->slots = calloc(n, sizeof(*t->slots));
        if (!t->slots)
                f->r = -ENOMEM;
        else
                (void) json_each(slots, parse_slot, &reader); /* the failure is in f->r */
}

int trust_state_parse(const void *data, size_t size, TrustState *ret, Why *why)
{
        _cleanup_(trust_state_done) TrustState t = { 0 };
        Fields f = { .what = "trust", .why = why };
        int r;

        r = document_parse(data, size, "trust", &t.unknown, why);
        if (r < 0)
                return r;
        f.object = t.unknown;
        t.has_running_serial = json_get(t.unknown, "runningSerial") != NULL;
        field_u64(&f, "runningSerial", &t.running_serial);
        field_u64(&f, "highWaterSerial", &t.high_water_serial);
        field_u64_list(&f, "revokedSerials", TRUST_REVOKED_MAX, &t.revoked_serials, &t.n_revoked_serials);
        field_digest_list(&f, "revokedRoothashes", TRUST_REVOKED_MAX, &t.revoked_roothashes);
        field_time(&f, "timeFloor", &t.time_floor);
        t.feed_serials = json_ref(field_object(&f, "feedSerials"));
        (void) json_each(t.feed_serials, check_serial_member, &f);
        parse_slots(&f, &t);
        if (f.r < 0)
                return f.r;
        *ret = t;
        t = (TrustState){ 0 };
        return 0;
}

/* formatting */

static Json *format_slot(const SlotRecord *r)
{
        Json *item = json_new_object();

        json_merge(item, r->unknown);
        member_u64(item, "serial", r->serial, r->has_serial);
        member_text(item, "version", r->version);
        member_text(item, "ukiSha256", r->uki_sha256);
        member_text(item, "entry", r->entry);
        if (r->files)
                json_set(item, "files", json_ref(r->files));
        else
                json_remove(item, "files");
        member_time(item, "committedAt", r->committed_at);
        return item;
}

int trust_state_format(const TrustState *t, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("trust", t->unknown);
        Json *slots = json_new_object();

        member_u64(doc, "runningSerial", t->running_serial, t->has_running_serial);
        member_u64(doc, "highWaterSerial", t->high_water_serial, true);
        json_set(doc, "feedSerials", t->feed_serials ? json_ref(t->feed_serials) : json_new_object());
        member_u64_list(doc, "revokedSerials", t->revoked_serials, t->n_revoked_serials);
        member_text_list(doc, "revokedRoothashes", t->revoked_roothashes);
        member_time(doc, "timeFloor", t->time_floor);
        for (size_t i = 0; i < t->n_slots; i++)
                json_set(slots, t->slots[i].roothash, format_slot(&t->slots[i]));
        json_set(doc, "slots", slots);
        return document_format(doc, ret);
}

/* the file */

int trust_state_load(const Env *env, TrustState *ret, bool *ret_lost, Why *why)
{
        _cleanup_(trust_state_done) TrustState t = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Why lost = { 0 };
        int r;

        r = document_read(env, TRUST_NAME, TRUST_MAX, &b, &lost, why);
        if (r < 0)
                return r;
        if (r == DOCUMENT_READ) {
                r = trust_state_parse(b.data, b.size, &t, &lost);
                if (r == -ENOMEM)
                        return r;
        } else
                r = r == DOCUMENT_LOST ? -EBADMSG : 0;
        if (r < 0) {
                t.lost_because = strdup(lost.text);
                if (!t.lost_because)
                        return -ENOMEM;
        }
        *ret_lost = r < 0;
        *ret = t;
        t = (TrustState){ 0 };
        return 0;
}

static void keep_unreadable(const Env *env)
{
        _cleanup_(trust_state_done) TrustState present = { 0 };
        bool lost = false;

        if (trust_state_load(env, &present, &lost, NULL) >= 0 && lost)
                (void) document_keep_lost(
                        env, TRUST_NAME); /* only a copy: the write below does not depend on it */
}

int trust_state_save(const Env *env, const TrustState *t, Why *why)
{
        _cleanup_(trust_state_done) TrustState back = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        Why bug = { 0 };
        int r;

        r = trust_state_format(t, &text);
        if (r >= 0)
                r = strlen(text) > TRUST_MAX ? -EFBIG : trust_state_parse(text, strlen(text), &back, &bug);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return fail(why, r, WHY_HOST, "bug", "%s/%s not written: it could not be read back: %s",
                            STATE_DIR, TRUST_NAME, bug.text[0] ? bug.text : "too large");
        keep_unreadable(env);
        return document_write(env, TRUST_NAME, text, why);
}

/* changes and questions */

bool trust_state_raise_time(TrustState *t, uint64_t issued)
{
        if (issued <= t->time_floor)
                return false;
        t->time_floor = issued;
        return true;
}

bool trust_state_raise_floor(TrustState *t, uint64_t serial)
{
        if (serial <= t->high_water_serial)
                return false;
        t->high_water_serial = serial;
        return true;
}

static bool has_serial(const TrustState *t, uint64_t serial)
{
        for (size_t i = 0; i < t->n_revoked_serials; i++)
                if (t->revoked_serials[i] == serial)
                        return true;
        return false;
}

static int revoke_serial(TrustState *t, uint64_t serial)
{
        uint64_t *list;

        if (has_serial(t, serial))
                return 0;
        if (t->n_revoked_serials >= TRUST_REVOKED_MAX) {
                t->n_revoked_serials--;
                memmove(t->revoked_serials, t->revoked_serials + 1, t->n_revoked_serials * sizeof(uint64_t));
        }
        list = reallocarray(t->revoked_serials, t->n_revoked_serials + 1, sizeof(uint64_t));
        if (!list)
                return -ENOMEM;
        list[t->n_revoked_serials++] = serial;
        t->revoked_serials = list;
        return 0;
}

static int revoke_roothash(TrustState *t, const char *roothash)
{
        size_t n = strv_len(t->revoked_roothashes);
        char hex[65];

        if (hex_normalize(roothash, 64, hex) < 0)
                return -EINVAL;
        if (strv_has(t->revoked_roothashes, hex))
                return 0;
        if (n >= TRUST_REVOKED_MAX) {
                free(t->revoked_roothashes[0]);
                memmove(t->revoked_roothashes, t->revoked_roothashes + 1, n * sizeof(char *));
        }
        return strv_add(&t->revoked_roothashes, hex);
}

int trust_state_revoke(TrustState *t, const uint64_t *serials, size_t n_serials, char *const *roothashes)
{
        int r = 0;

        for (size_t i = 0; i < n_serials && r >= 0; i++)
                r = revoke_serial(t, serials[i]);
        for (; roothashes && *roothashes && r >= 0; roothashes++)
                r = revoke_roothash(t, *roothashes);
        return r;
}

bool trust_state_revoked(const TrustState *t, bool known, uint64_t serial, const char *roothash)
{
        char hex[65];

        if (known && has_serial(t, serial))
                return true;
        return roothash && hex_normalize(roothash, 64, hex) >= 0 && strv_has(t->revoked_roothashes, hex);
}

int trust_state_feed_serial(const TrustState *t, const char *key, uint64_t *ret)
{
        return json_get_u64(t->feed_serials, key, ret);
}

static int first_key(void *ctx, const char *key, const Json *value _unused_)
{
        *(const char **) ctx = key;
        return 1;
}

int trust_state_set_feed_serial(TrustState *t, const char *key, uint64_t serial)
{
        if (!t->feed_serials)
                t->feed_serials = json_new_object();
        if (!t->feed_serials)
                return -ENOMEM;
        while (!json_get(t->feed_serials, key) && json_members(t->feed_serials) >= TRUST_FEEDS_MAX) {
                _cleanup_(free_charp) char *oldest = NULL;
                const char *k = NULL;

                (void) json_each(t->feed_serials, first_key, &k);
                oldest = strdup(k);
                if (!oldest)
                        return -ENOMEM;
                json_remove(t->feed_serials, oldest);
        }
        json_remove(t->feed_serials, key); /* a member that is only changed keeps its place */
        json_set_u64(t->feed_serials, key, serial);
        return json_get(t->feed_serials, key) ? 0 : -ENOMEM;
}

const SlotRecord *trust_state_slot(const TrustState *t, const char *roothash)
{
        char hex[65];

        if (!roothash || hex_normalize(roothash, 64, hex) < 0)
                return NULL;
        for (size_t i = 0; i < t->n_slots; i++)
                if (streq(t->slots[i].roothash, hex))
                        return &t->slots[i];
        return NULL;
}

static void drop_slot(TrustState *t, size_t i)
{
        slot_record_done(&t->slots[i]);
        t->n_slots--;
        memmove(&t->slots[i], &t->slots[i + 1], (t->n_slots - i) * sizeof(SlotRecord));
}

int trust_state_put_slot(TrustState *t, SlotRecord *record)
{
        const SlotRecord *present = trust_state_slot(t, record->roothash);
        size_t i = present ? (size_t) (present - t->slots) : t->n_slots;
        SlotRecord *slots;
        char hex[65];

        if (hex_normalize(record->roothash, 64, hex) < 0)
                return -EINVAL;
        slots = reallocarray(t->slots, t->n_slots + 1, sizeof(SlotRecord));
        if (!slots)
                return -ENOMEM;
        t->slots = slots;
        if (i < t->n_slots) {
                if (!record->unknown) /* what a newer version noted about this content stays */
                        record->unknown = TAKE(t->slots[i].unknown);
                drop_slot(t, i);
        }
        memcpy(record->roothash, hex, sizeof(hex));
        t->slots[t->n_slots++] = *record;
        *record = (SlotRecord){ 0 };
        /* oldest by the order they were put, which no clock can turn round */
        while (t->n_slots > TRUST_SLOTS_KEPT)
                drop_slot(t, 0);
        return 0;
}

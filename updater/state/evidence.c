/* SPDX-License-Identifier: MIT */

/* The black box as a sentence and as a file.
 *
 * {"schema": "gybe.evidence/1", "updateId": "…", "attempt": 1, "version": "3.0.20261104", "slot": "b", "reason":
 * "firmware-fallback", "kind": "panic", "cause": "kernel panic: …", "stage": "initrd", "panic": "…", "dumps": [{"name": "…",
 * "time": "…", "blame": "roothash", "sha256": "…", "text": "…"}], "journal": "…", "deadline": "…", "health": {…}, …} */

#include "state/evidence.h"
#include "state/document.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEALTH_SHARE 4u   /* a health report may take a quarter of a black box */
#define TEXT_MIN     512u /* below this a text says nothing any more */

void evidence_done(Evidence *e)
{
        free(e->update_id);
        free(e->version);
        free(e->entry);
        crash_dumps_done(&e->dumps);
        free(e->journal);
        free(e->deadline);
        json_unrefp(&e->health);
        *e = (Evidence){ 0 };
}

/* --- the cause --- */

static void conclude(Evidence *e, const char *kind, const char *fmt, ...) _printf_(3, 4);
static void conclude(Evidence *e, const char *kind, const char *fmt, ...)
{
        va_list ap;

        e->kind = kind;
        va_start(ap, fmt);
        (void) vsnprintf(e->cause, sizeof(e->cause), fmt, ap);
        va_end(ap);
}

/* The journal knows the way, the crash dump the end. */
static void add_trace(BootTrace *to, const BootTrace *from)
{
        to->stage = MAX(to->stage, from->stage);
        if (from->panic[0])
                memcpy(to->panic, from->panic, sizeof(to->panic));
        if (!to->verity[0])
                memcpy(to->verity, from->verity, sizeof(to->verity));
        if (!to->failure[0])
                memcpy(to->failure, from->failure, sizeof(to->failure));
        if (from->last[0] && from->uptime >= to->uptime)
                memcpy(to->last, from->last, sizeof(to->last));
        if (!to->usrhash[0])
                memcpy(to->usrhash, from->usrhash, sizeof(to->usrhash));
        to->uptime = MAX(to->uptime, from->uptime);
        to->rebooted = to->rebooted || from->rebooted;
}

/* The n-th word of a line, "" when there are fewer. */
static void word_of(const char *line, unsigned n, char ret[EVIDENCE_LINE_MAX])
{
        const char *p = line;
        size_t length = 0;

        for (unsigned i = 0; i <= n; i++) {
                p += length;
                while (*p == ' ')
                        p++;
                length = strcspn(p, " \n");
        }
        (void) snprintf(ret, EVIDENCE_LINE_MAX, "%.*s", (int) MIN(length, (size_t) EVIDENCE_LINE_MAX), p);
}

/* What systemctl listed: "foo.service loaded failed failed Foo" and "123 foo.service start running". A failed unit explains more
 * than a job that waits, perhaps for it. */
static bool culprit(const char *text, char unit[EVIDENCE_LINE_MAX], bool *ret_failed)
{
        char word[EVIDENCE_LINE_MAX];
        bool found = false;

        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                for (unsigned mark = 0; mark < 2; mark++) { /* a bullet may stand in front of the unit */
                        char state[EVIDENCE_LINE_MAX];

                        word_of(line, mark, word);
                        word_of(line, mark + 2, state);
                        if (strchr(word, '.') && streq(state, "failed")) {
                                memcpy(unit, word, sizeof(word));
                                *ret_failed = true;
                                return true;
                        }
                }
                word_of(line, 3, word);
                if (!found && isdigit((unsigned char) line[strspn(line, " ")]) && streq(word, "running")) {
                        word_of(line, 1, unit);
                        *ret_failed = false;
                        found = true;
                }
        }
        return found;
}

static void conclude_deadline(Evidence *e)
{
        static const char first[] = "not committed within ";
        char unit[EVIDENCE_LINE_MAX] = "", seconds[EVIDENCE_LINE_MAX] = "";
        const char *text = e->deadline ? e->deadline : "", *at = strstr(text, first),
                   *list = strchr(text, '\n');
        bool failed = false, known = list && culprit(list + 1, unit, &failed);

        if (at)
                word_of(at + strlen(first), 0, seconds);
        conclude(e, "deadline", "not committed %s%.12s%s of boot%s%.120s%s",
                 at ? "within " : "in time, counted from the start", seconds, at ? " s" : "",
                 known ? ": " : "", unit,
                 !known   ? ""
                 : failed ? " had failed"
                          : " was still being started");
}

static void conclude_trace(Evidence *e)
{
        const BootTrace *t = &e->trace;
        const char *stage = boot_stage_name(e->stage);

        if (t->verity[0])
                conclude(e, "verity", "its slot is damaged: %s", t->verity);
        else if (t->panic[0])
                conclude(e, "panic", "kernel panic: %s (furthest seen: %s)", t->panic, stage);
        else if (e->watchdog_reset)
                conclude(e, "watchdog", "the hardware watchdog reset it (furthest seen: %s)", stage);
        else if (t->rebooted)
                conclude(e, "rebooted", "it was rebooted before it was committed (furthest seen: %s)", stage);
        else if (t->failure[0])
                conclude(e, "unit", "%s (furthest seen: %s)", t->failure, stage);
        else if (e->stage > STAGE_NOTHING)
                conclude(e, "silent", "it ended without a word (furthest seen: %s; last: %.150s)", stage,
                         t->last);
        else
                conclude(e, "silent",
                         "nothing was seen of it, neither a crash dump nor a journal: a power cut, a reset, "
                         "or a "
                         "hang before it could write");
}

void evidence_conclude(Evidence *e, const char *message)
{
        for (size_t i = 0; i < e->dumps.n; i++)
                if (e->dumps.list[i].blame > CRASH_OTHER)
                        add_trace(&e->trace, &e->dumps.list[i].trace);
        e->stage = e->trace.stage;
        if (e->reason == REASON_HEALTH_FALLBACK) {
                e->stage = STAGE_SETTLING;
                conclude(e, "health", "%.300s", message ? message : "a health check failed");
        } else if (e->reason == REASON_DEADLINE)
                conclude_deadline(e);
        else
                conclude_trace(e);
        for (char *p = e->cause; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                        *p = '?';
}

/* --- the document --- */

/* The end of a text, not more than max bytes. */
static void member_tail(Json *doc, const char *key, const char *text, size_t max)
{
        size_t n = text ? strlen(text) : 0;

        if (n > 0)
                json_set_str(doc, key, text + (n > max ? n - max : 0));
}

static Json *dumps_json(const CrashDumps *d, size_t max)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < d->n; i++) {
                const CrashDump *dump = &d->list[i];
                Json *one = json_new_object();

                json_set_str(one, "name", dump->name);
                member_time(one, "time", dump->time);
                json_set_str(one, "blame", crash_blame_name(dump->blame));
                json_set_str(one, "sha256", dump->sha256);
                if (dump->blame > CRASH_OTHER) /* another boot's is only named, to be known again */
                        member_tail(one, "text", dump->text, max);
                json_add(list, one);
        }
        return list;
}

static int format(const Evidence *e, size_t max, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("evidence", NULL);
        _cleanup_(free_charp) char *health = e->health ? json_format(e->health, false) : NULL;
        const BootTrace *t = &e->trace;

        member_text(doc, "updateId", e->update_id);
        member_u64(doc, "attempt", e->attempt, true);
        member_text(doc, "version", e->version);
        member_slot(doc, "slot", e->slot);
        member_text(doc, "roothash", e->roothash);
        member_text(doc, "entry", e->entry);
        member_text(doc, "reason", reason_name(e->reason));
        member_text(doc, "kind", e->kind);
        member_text(doc, "cause", e->cause);
        member_text(doc, "stage", boot_stage_name(e->stage));
        member_time(doc, "armedAt", e->armed_at);
        member_time(doc, "at", e->found_at);
        member_text(doc, "bootId", e->boot_id);
        member_bool(doc, "watchdogReset", e->watchdog_reset);
        member_text(doc, "panic", t->panic);
        member_text(doc, "verity", t->verity);
        member_text(doc, "failure", t->failure);
        member_text(doc, "last", t->last);
        if (e->dumps.n > 0)
                json_set(doc, "dumps", dumps_json(&e->dumps, max));
        member_tail(doc, "journal", e->journal, max);
        member_tail(doc, "deadline", e->deadline, max);
        if (health && strlen(health) <= EVIDENCE_FILE_MAX / HEALTH_SHARE)
                json_set(doc, "health", json_ref(e->health));
        return document_format(doc, ret);
}

int evidence_format(const Evidence *e, char **ret)
{
        for (size_t max = EVIDENCE_TEXT_MAX;; max /= 2) {
                _cleanup_(free_charp) char *text = NULL;
                int r = format(e, max, &text);

                if (r < 0)
                        return r;
                if (strlen(text) <= EVIDENCE_FILE_MAX) {
                        *ret = TAKE(text);
                        return 0;
                }
                if (max < TEXT_MIN)
                        return -EFBIG;
        }
}

/* --- the files --- */

void evidence_name(const char *update_id, unsigned attempt, char ret[64])
{
        char id[37] = "unknown";
        size_t n = update_id ? strlen(update_id) : 0;

        /* what is not a UUID did not come from us, and names no file */
        if (n > 0 && n < sizeof(id) && strspn(update_id, "0123456789abcdefABCDEF-") == n)
                memcpy(id, update_id, n + 1);
        (void) snprintf(ret, 64, "%s-%u.json", id, attempt);
}

static bool is_evidence(const char *name)
{
        return str_ends(name, ".json");
}

typedef struct Age {
        const char *name;
        struct timespec at;
} Age;

static int newest_first(const void *a, const void *b)
{
        const Age *x = a, *y = b;

        if (x->at.tv_sec != y->at.tv_sec)
                return x->at.tv_sec > y->at.tv_sec ? -1 : 1;
        if (x->at.tv_nsec != y->at.tv_nsec)
                return x->at.tv_nsec > y->at.tv_nsec ? -1 : 1;
        return strcmp(y->name, x->name);
}

/* own: just written; it stays, whatever the clock said when. */
static int drop_old(int dir_fd, const char *own)
{
        _cleanup_(strv_freep) char **names = NULL;
        Age *ages;
        size_t n = 0;
        int r = dir_list(dir_fd, ".", &names);

        if (r < 0)
                return r;
        ages = calloc(strv_len(names) + 1, sizeof(*ages));
        if (!ages)
                return -ENOMEM;
        for (char **i = names; *i; i++) {
                struct stat st;

                if (!is_evidence(*i) || streq(*i, own) || fstatat(dir_fd, *i, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                ages[n++] = (Age){ *i, st.st_mtim };
        }
        qsort(ages, n, sizeof(*ages), newest_first);
        for (size_t i = EVIDENCE_KEPT - 1; i < n && r >= 0; i++)
                r = file_remove(dir_fd, ages[i].name);
        free(ages);
        return r;
}

int evidence_save(const Env *env, const Evidence *e, Why *why)
{
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(close_fdp) int dir_fd = -1;
        char name[64];
        int r = evidence_format(e, &text);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, EVIDENCE_DIR);
        dir_fd = state_open_dir(env, EVIDENCE_DIR, true, why);
        if (dir_fd < 0)
                return dir_fd;
        evidence_name(e->update_id, e->attempt, name);
        if ((r = file_replace(dir_fd, name, text, strlen(text), STATE_FILE_MODE)) < 0 ||
            (r = drop_old(dir_fd, name)) < 0)
                return fail_errno(why, r, WHY_HOST, "%s/%s/%s", STATE_DIR, EVIDENCE_DIR, name);
        return 0;
}

static int file_has_dump(int dir_fd, const char *name, const char *sha256)
{
        _cleanup_(json_unrefp) Json *doc = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = file_read(dir_fd, name, EVIDENCE_FILE_MAX, &b);

        if (r >= 0)
                r = document_parse(b.data, b.size, "evidence", &doc, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        json_foreach (dump, json_get(doc, "dumps"))
                if (streq0(json_get_str(dump, "sha256"), sha256))
                        return 1;
        return 0;
}

int evidence_has_dump(const Env *env, const char *sha256, const char *but)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, EVIDENCE_DIR, false, NULL);
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        if (dir_fd < 0)
                return 0;
        r = dir_list(dir_fd, ".", &names);
        for (char **n = names; r >= 0 && n && *n; n++) {
                if (!is_evidence(*n) || streq0(*n, but))
                        continue;
                r = file_has_dump(dir_fd, *n, sha256);
                if (r > 0)
                        return r;
        }
        return r == -ENOMEM ? r : 0;
}

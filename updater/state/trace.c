/* SPDX-License-Identifier: MIT */

/* Kernel logs and journals as witnesses: how far did it get, what did it say last, what broke? Words are looked for anywhere
 * in a line, because every source puts something else in front; a line that lies speaks only against its own boot. */

#include "state/evidence.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define LINE_KEPT 4096u /* a kernel command line has 2 to 4 KiB */

const char *boot_stage_name(BootStage stage)
{
        static const char *const names[_BOOT_STAGE_MAX] = {
                [STAGE_NOTHING] = "nothing",    [STAGE_KERNEL] = "kernel",
                [STAGE_INITRD] = "initrd",      [STAGE_SWITCH_ROOT] = "switch-root",
                [STAGE_BASIC] = "basic.target", [STAGE_MULTI_USER] = "multi-user.target",
                [STAGE_SETTLING] = "gybe",
        };

        return stage >= 0 && stage < _BOOT_STAGE_MAX ? names[stage] : NULL;
}

/* Its end, because what is said last explains most; a first line that was cut is dropped. Long lines keep their beginning. */
char *evidence_tame(const void *data, size_t size, size_t max)
{
        const uint8_t *in = data;
        size_t from = size > max ? size - max : 0, n = 0, column = 0;
        const uint8_t *nl = from > 0 ? memchr(in + from, '\n', size - from) : NULL;
        char *out = malloc(MIN(size, max) + 1);

        if (!out)
                return NULL;
        if (nl && nl + 1 < in + size)
                from = (size_t) (nl + 1 - in);
        for (size_t i = from; i < size; i++) {
                uint8_t c = in[i];

                if (c == '\n') {
                        column = 0;
                        out[n++] = '\n';
                } else if (c != '\r' && column++ < LINE_KEPT)
                        out[n++] = c == '\t' ? ' ' : c >= 0x20 && c <= 0x7e ? (char) c : '?';
        }
        out[n] = '\0';
        return out;
}

/* --- one line --- */

typedef struct Line {
        const char *text;
        size_t n;
} Line;

static const char *find(const Line *l, const char *word)
{
        return memmem(l->text, l->n, word, strlen(word));
}

/* The first message of its kind, without leading blanks. */
static void keep(char out[EVIDENCE_LINE_MAX], const char *from, const Line *l)
{
        const char *end = l->text + l->n;

        while (from < end && *from == ' ')
                from++;
        (void) snprintf(out, EVIDENCE_LINE_MAX, "%.*s", (int) MIN((size_t) (end - from), (size_t) 1024),
                        from);
}

/* "<6>[   12.345678][    T1] message", "[   12.345678] host unit[1]: message": behind the time. strspn() stops at the newline. */
static const char *skip_time(const Line *l, uint64_t *ret_usec)
{
        const char *p = l->text, *end = l->text + l->n;
        uint64_t sec = 0, usec = 0, digit = 100000;

        if (p < end && *p == '<') {
                const char *close = memchr(p, '>', (size_t) MIN(end - p, (ptrdiff_t) 5));
                p = close ? close + 1 : p;
        }
        if (p < end && isdigit((unsigned char) *p)) { /* -o short-unix: the time of day is no uptime */
                size_t n = strspn(p, "0123456789.");

                return p + n < end && p[n] == ' ' ? p + n : p;
        }
        if (p >= end || *p != '[')
                return p;
        for (p++; p < end && *p == ' '; p++)
                ;
        if (p >= end || !isdigit((unsigned char) *p))
                return l->text;
        for (unsigned i = 0; i < 10 && p < end && isdigit((unsigned char) *p); i++, p++)
                sec = sec * 10 + (uint64_t) (*p - '0');
        if (p >= end || *p != '.')
                return l->text;
        for (p++; p < end && isdigit((unsigned char) *p); p++, digit /= 10)
                usec += digit * (uint64_t) (*p - '0');
        if (p >= end || *p != ']')
                return l->text;
        *ret_usec = sec * 1000000 + usec;
        return p + 1;
}

/* Behind "[    T1] " of the kernel, or "host unit[1]: " of the journal. */
static const char *skip_sender(const Line *l, const char *p)
{
        const char *end = l->text + l->n, *word, *colon;

        while (p < end && *p == ' ')
                p++;
        if (p < end && *p == '[') {
                const char *close = memchr(p, ']', (size_t) MIN(end - p, (ptrdiff_t) 12));

                for (p = close ? close + 1 : p; close && p < end && *p == ' '; p++)
                        ;
                return p;
        }
        word = memchr(p, ' ', (size_t) (end - p));
        colon = word ? memmem(word, (size_t) (end - word), ": ", 2) : NULL;
        if (!colon || memchr(word + 1, ' ', (size_t) (colon - word - 1)))
                return p;
        if (colon[-1] != ']' && (colon - word != 7 || memcmp(word, " kernel", 7) != 0))
                return p;
        return colon + 2;
}

static void reach(BootTrace *t, BootStage stage)
{
        t->stage = MAX(t->stage, stage);
}

static bool any_of(const Line *l, const char *const *words, size_t n, const char **ret)
{
        for (size_t i = 0; i < n; i++) {
                const char *at = find(l, words[i]);

                if (!at)
                        continue;
                if (ret)
                        *ret = at;
                return true;
        }
        return false;
}

/* As systemd and the kernel say it, 249 to 257. An initrd reaches basic.target too, so that one counts behind switch-root. */
static void scan_stage(BootTrace *t, const Line *l)
{
        static const char *const initrd[] = { "Running in initrd", "Run /init as init process",
                                              "initrd.target", "initrd-root-device.target" },
                                 *const leaves[] = { "Switching root", "Switch Root" },
                                 *const basic[] = { "Reached target basic.target",
                                                    "Reached target Basic System" },
                                 *const multi[] = { "Reached target multi-user.target",
                                                    "Reached target Multi-User System",
                                                    "Reached target graphical.target" },
                                 *const gybe[] = { "Starting gybe-commit.service", "gybe-commit.service: " };

        if (any_of(l, leaves, ELEMENTSOF(leaves), NULL)) {
                reach(t, STAGE_SWITCH_ROOT);
                t->in_initrd = false;
        } else if (t->stage < STAGE_SWITCH_ROOT && any_of(l, initrd, ELEMENTSOF(initrd), NULL)) {
                reach(t, STAGE_INITRD);
                t->in_initrd = true;
        } else if (!t->in_initrd && any_of(l, basic, ELEMENTSOF(basic), NULL))
                reach(t, STAGE_BASIC);
        else if (!t->in_initrd && any_of(l, multi, ELEMENTSOF(multi), NULL))
                reach(t, STAGE_MULTI_USER);
        else if (!t->in_initrd && any_of(l, gybe, ELEMENTSOF(gybe), NULL))
                reach(t, STAGE_SETTLING);
}

static void scan_cmdline(BootTrace *t, const Line *l)
{
        static const char *const spellings[] = { "usrhash=", "roothash=" };
        const char *at = find(l, "ommand line: "), *end = l->text + l->n;

        if (!at || t->usrhash[0])
                return;
        for (size_t i = 0; i < ELEMENTSOF(spellings) && !t->usrhash[0]; i++) {
                const char *hash = memmem(at, (size_t) (end - at), spellings[i], strlen(spellings[i]));
                char word[65];

                if (!hash || end - hash < (ptrdiff_t) (strlen(spellings[i]) + 64))
                        continue;
                hash += strlen(spellings[i]);
                memcpy(word, hash, 64);
                word[64] = '\0';
                if (hash + 64 < end && isalnum((unsigned char) hash[64]))
                        continue; /* longer than a root hash of ours */
                (void) hex_normalize(word, 64, t->usrhash);
        }
}

static void scan_trouble(BootTrace *t, const Line *l, const char *message)
{
        static const char *const failures[] = { "Timed out waiting for device", "Failed to start ",
                                                "Failed to mount ", "Failed to switch root",
                                                "Dependency failed for " },
                                 *const reboots[] = { "Reached target reboot.target",
                                                      "Reached target System Reboot", "System is rebooting",
                                                      "reboot: Restarting system" };
        static const char panic[] = "Kernel panic - not syncing: ";
        const char *at = find(l, panic);

        if (at && !t->panic[0]) {
                keep(t->panic, at + strlen(panic), l);
                if (str_starts(t->panic, "dm-verity") && !t->verity[0])
                        keep(t->verity, at + strlen(panic), l);
        }
        at = find(l, "device-mapper: verity: ");
        if (at && !t->verity[0] && (find(l, "corrupted") || find(l, "maximum errors")))
                keep(t->verity, at, l);
        if (!t->failure[0] && any_of(l, failures, ELEMENTSOF(failures), &at))
                keep(t->failure, at, l);
        t->rebooted = t->rebooted || any_of(l, reboots, ELEMENTSOF(reboots), NULL);
        if (message < l->text + l->n)
                keep(t->last, message, l);
}

void boot_trace_scan(BootTrace *trace, const char *text)
{
        while (*text) {
                size_t n = strcspn(text, "\n");
                Line l = { text, n };
                uint64_t usec = 0;
                const char *message = skip_time(&l, &usec);

                if (n > 0) {
                        reach(trace, STAGE_KERNEL);
                        trace->uptime = MAX(trace->uptime, usec);
                        scan_stage(trace, &l);
                        scan_cmdline(trace, &l);
                        scan_trouble(trace, &l, skip_sender(&l, message));
                }
                text += n + (text[n] == '\n');
        }
}

/* --- journalctl --list-boots --- */

/* " -1 0123...ef Mon 2026-..." (252) and the same below a header (254 and later). */
size_t boot_list_parse(const char *text, char (*ret)[33], size_t max)
{
        size_t found = 0;

        while (*text && max > 0) {
                size_t n = strcspn(text, "\n"), blank = MIN(strspn(text, " "), n), number, gap;
                const char *p = text + blank, *id;
                char word[33] = "";

                number = strspn(p, "-0123456789");
                gap = strspn(p + number, " ");
                id = p + number + gap;
                if (number > 0 && gap > 0 && id + 32 <= text + n) {
                        memcpy(word, id, 32);
                        word[32] = '\0';
                }
                if (word[0] && hex_normalize(word, 32, word) >= 0 && (id + 32 == text + n || id[32] == ' ')) {
                        if (found == max)
                                memmove(ret[0], ret[1], (max - 1) * sizeof(*ret));
                        else
                                found++;
                        memcpy(ret[found - 1], word, sizeof(word));
                }
                text += n + (text[n] == '\n');
        }
        return found;
}

/* SPDX-License-Identifier: MIT */

/* Any bytes as a kernel log, a journal, a list of boots, a deadline's notes: no crash, no leak; what was made tame is printable,
 * and the black box that holds it is bounded and can be read. */

#include "state/evidence.h"
#include "base/str.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line)
{
        assert(strlen(line) < EVIDENCE_LINE_MAX);
        for (; *line; line++)
                assert(*line >= 0x20 && *line <= 0x7e);
}

static void check_text(const char *text, size_t max)
{
        assert(strlen(text) <= max);
        for (; *text; text++)
                assert((*text >= 0x20 && *text <= 0x7e) || *text == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const Reason reasons[] = { REASON_HEALTH_FALLBACK, REASON_DEADLINE, REASON_FIRMWARE_FALLBACK };
        size_t max = size > 0 ? data[0] * 16u : 0;
        _cleanup_(free_charp) char *text = evidence_tame(data, size, EVIDENCE_TEXT_MAX),
                                   *tail = evidence_tame(data, size, max);
        CrashDump dump = { .name = (char *) "x", .text = text, .time = 1790000060 };
        TrialBoot trial = {
                .roothash = "x", .armed_at = 1790000000, .kernel = "6.6.130", .old_kernel = "6.6.121"
        };
        char ids[4][33];
        size_t n;

        assert(text && tail);
        check_text(text, EVIDENCE_TEXT_MAX);
        check_text(tail, max);
        boot_trace_scan(&dump.trace, text);
        check_line(dump.trace.panic);
        check_line(dump.trace.verity);
        check_line(dump.trace.failure);
        check_line(dump.trace.last);
        assert(strlen(dump.trace.usrhash) == 64 || !dump.trace.usrhash[0]);
        dump.blame = crash_blame(&dump, &trial);
        n = boot_list_parse(text, ids, ELEMENTSOF(ids));
        for (size_t i = 0; i < n; i++)
                assert(strlen(ids[i]) == 32);
        for (size_t i = 0; i < ELEMENTSOF(reasons); i++) {
                Evidence e = {
                        .reason = reasons[i], .deadline = text, .journal = tail, .dumps = { &dump, 1 }
                };
                _cleanup_(json_unrefp) Json *doc = NULL;
                _cleanup_(free_charp) char *out = NULL;

                evidence_conclude(&e, text);
                assert(strlen(e.cause) < sizeof(e.cause) && !strchr(e.cause, '\n') && e.kind);
                assert(evidence_format(&e, &out) == 0 && strlen(out) <= EVIDENCE_FILE_MAX);
                assert(json_parse(out, strlen(out), 0, JSON_DEPTH_MAX, "x", WHY_HOST, &doc, NULL) == 0);
        }
        return 0;
}

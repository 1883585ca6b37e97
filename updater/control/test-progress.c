/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "control/progress.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

#define MB UINT64_C(1000000)

static void test_lines(void)
{
        static const ProgressValues staging = { .what = "staging",
                                                .done = 43 * MB,
                                                .total = 100 * MB,
                                                .fetched = 3 * MB,
                                                .copied = 20 * MB,
                                                .skipped = 20 * MB,
                                                .written = 23 * MB },
                                    ended = { .what = "verifying", .done = 100 * MB, .total = 100 * MB },
                                    watching = { .what = "watching", .done = 60, .total = 300 },
                                    held = { .what = "staging",
                                             .done = 1 * MB,
                                             .total = 100 * MB,
                                             .pace = "paused: io pressure 23 %" },
                                    unknown = { .what = "checking" };
        static const struct {
                const ProgressValues *v;
                unsigned columns;
                const char *line;
        } cases[] = {
                { &staging, 119,
                  "staging    43 %  100 MB  21.5 MB/s  0:02 left  fetched 3.0 MB, copied 20.0 MB, in place "
                  "20.0 MB, "
                  "written 23.0 MB" },
                { &staging, 79,
                  "staging    43 %  100 MB  21.5 MB/s  0:02 left  fetched 3.0 MB, copied 20.0 MB" },
                { &staging, 50, "staging    43 %  100 MB  21.5 MB/s  0:02 left" },
                { &staging, 16, "staging    43 %" },
                { &staging, 4, "" },
                { &ended, 79,
                  "verifying 100 %  100 MB  50.0 MB/s  in 0:02 [################################]" },
                { &ended, 55, "verifying 100 %  100 MB  50.0 MB/s  in 0:02 [#########]" },
                { &watching, 79, "watching   20 %  4:00 left [######..........................]" },
                { &held, 60, "staging     1 %  paused: io pressure 23 %  100 MB  500 kB/s" },
                { &unknown, 60, "checking    0 %  0 B  in 0:02 [............................]" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char line[PROGRESS_LINE_MAX];

                progress_line(cases[i].v, 2 * MB, cases[i].columns, line);
                if (!streq(line, cases[i].line))
                        (void) fprintf(stderr, "%zu: \"%s\"\n", i, line);
                assert(strlen(line) <= cases[i].columns);
                assert(streq(line, cases[i].line));
        }
}

int main(void)
{
        test_lines();
        return 0;
}

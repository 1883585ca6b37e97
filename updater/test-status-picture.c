/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "base/str.h"
#include "status.h"

#include <assert.h>
#include <stdio.h>

static const char slots[] = "\"slots\":{\"a\":{\"state\":\"running\",\"running\":true,\"version\":\"3.0.1\","
                            "\"default\":true,\"entry\":\"a.efi\","
                            "\"roothash\":\"00112233445566778899aabbccddeeff\"},"
                            "\"b\":{\"state\":\"empty\",\"running\":false}}";

static char *draw(const char *more, uint64_t now, PictureStyle style)
{
        _cleanup_(free_charp) char *text =
                str_printf("{\"schema\":\"gybe.status/"
                           "1\",\"product\":\"acl\",\"channel\":\"stable\",\"arch\":\"x86_64\","
                           "%s%s%s}",
                           slots, *more ? "," : "", more);
        _cleanup_(json_unrefp) Json *status = NULL;
        char *picture;

        assert(text && json_parse(text, strlen(text), 0, 16, "status", WHY_HOST, &status, NULL) >= 0);
        picture = status_picture(status, now, style);
        assert(picture);
        return picture;
}

/* Columns of the longest line; every character that we draw takes one. */
static unsigned widest(const char *text)
{
        unsigned best = 0, at = 0;

        for (; *text; text++) {
                if (*text == '\n')
                        at = 0;
                else if (((unsigned char) *text & 0xc0) != 0x80)
                        at++;
                best = MAX(best, at);
        }
        return best;
}

static void test_sentences(void)
{
        static const struct {
                const char *more, *says;
                uint64_t now;
        } cases[] = {
                { "\"phase\":\"idle\"", " Nothing is in progress.\n", 0 },
                { "\"phase\":\"idle\",\"pin\":\"3.0.1\"", " Pinned to 3.0.1: ", 0 },
                { "\"phase\":\"idle\",\"skip\":[\"3.0.2\",\"3.0.3\"]",
                  " Skipped: 3.0.3, until gybe unskip.\n", 0 },
                { "\"phase\":\"staged\",\"update\":{\"version\":\"3.0.2\",\"slot\":\"b\"}",
                  " 3.0.2 is staged in slot b. Next: gybe finalize\n", 0 },
                { "\"phase\":\"staged\",\"update\":{\"version\":\"3.0.2\",\"slot\":\"b\"}",
                  " 3.0.2 is staged in slot b.\n", 1 },
                { "\"phase\":\"probation\",\"update\":{\"version\":\"3.0.2\"},\"next\":{\"action\":"
                  "\"commit\"}",
                  " 3.0.2 is on trial; ", 0 },
                { "\"phase\":\"probation\",\"update\":{\"version\":\"3.0.2\"},\"next\":{\"action\":"
                  "\"reboot\"}",
                  " 3.0.2 was given up; the next boot returns to the other slot. Next: reboot\n", 0 },
                { "\"phase\":\"idle\",\"next\":{\"because\":\"held\"}", " Not now: held\n", 0 },
                { "\"phase\":\"idle\",\"outcome\":\"rolled-back\",\"reason\":\"health-fallback\",\"message\":"
                  "\"sick\"",
                  " Last outcome: rolled-back, health-fallback\n sick\n", 0 },
                { "\"phase\":\"staged\",\"hangs\":[{\"stage\":\"loader\",\"owner\":\"firmware\"},{\"stage\":"
                  "\"initrd\"},"
                  "{\"stage\":\"user-space\",\"owner\":\"deadline\"}]",
                  " Who ends a hang of the loader: firmware; the initrd: nobody; user space: deadline\n", 0 },
                { "\"phase\":\"idle\",\"boot\":{\"secureBoot\":true}", " Secure Boot is on.\n", 0 },
                { "\"phase\":\"idle\",\"problems\":[{\"message\":\"m\",\"hint\":\"h\"}]", " ! m; h\n", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = draw(cases[i].more, cases[i].now, (PictureStyle){ 0 });

                if (!strstr(text, cases[i].says))
                        (void) fprintf(stderr, "%zu:\n%s", i, text);
                assert(strstr(text, cases[i].says));
                assert(!strchr(text, '\033'));
        }
}

static void test_style(void)
{
        static const char talk[] = "\"phase\":\"idle\",\"message\":\"a sentence that goes on and on, beyond "
                                   "what any terminal of "
                                   "a reasonable width could ever show in one line of its own\"";
        static const unsigned widths[] = { 42, 60, 79, 80, 132 };
        _cleanup_(free_charp) char *plain = draw(talk, 0, (PictureStyle){ .ascii = true });

        for (const char *c = plain; *c; c++)
                assert((unsigned char) *c < 0x80);
        assert(strstr(plain, "of its own\n"));
        for (size_t i = 0; i < ELEMENTSOF(widths); i++) {
                _cleanup_(free_charp) char *text = draw(talk, 0, (PictureStyle){ .columns = widths[i] });

                assert(widest(text) <= widths[i]);
                assert(strstr(text, "SLOT A") && strstr(text, "SLOT B"));
        }
        free(plain);
        plain = draw(talk, 0, (PictureStyle){ .colour = true });
        assert(strstr(plain, "\033[1;32mSLOT A"));
}

int main(void)
{
        test_sentences();
        test_style();
        return 0;
}

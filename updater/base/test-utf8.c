/* SPDX-License-Identifier: MIT */
#undef NDEBUG

#include "base/utf8.h"

#include <assert.h>
#include <stdio.h>

int main(void)
{
        static const struct {
                const char *in, *out; /* out NULL: valid as it is */
        } cases[] = {
                { "", NULL },
                { "plain", NULL },
                { "gr\xc3\xbc\xc3\x9f", NULL },
                { "\xe2\x82\xac \xf0\x9f\x9a\xa2", NULL },
                { "\xf4\x8f\xbf\xbf", NULL },
                { "\xed\x9f\xbf\xee\x80\x80", NULL }, /* on both sides of the surrogates */
                { "\xff", "?" },
                { "a\x80z", "a?z" },
                { "cut \xe2\x82", "cut ??" }, /* a limit fell into a character */
                { "\xc0\xaf", "??" },         /* overlong slash */
                { "\xe0\x80\xaf", "???" },
                { "\xf0\x80\x80\xaf", "????" },
                { "\xed\xa0\x80", "???" },      /* surrogate */
                { "\xf4\x90\x80\x80", "????" }, /* over U+10FFFF */
                { "\xc3(", "?(" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[64];

                (void) snprintf(text, sizeof(text), "%s", cases[i].in);
                assert(utf8_is_valid(text) == !cases[i].out);
                utf8_repair(text);
                assert(strcmp(text, cases[i].out ? cases[i].out : cases[i].in) == 0);
                assert(utf8_is_valid(text));
        }
        return 0;
}

/* SPDX-License-Identifier: MIT */

#include "base/terminal.h"
#include "base/str.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMNS_MAX 1000u /* more is no terminal's width */

unsigned terminal_columns(int fd)
{
        struct winsize size = { 0 };
        const char *text = getenv("COLUMNS");
        unsigned columns = 0;

        if (!isatty(fd))
                return 0;
        if (ioctl(fd, TIOCGWINSZ, &size) >= 0 && size.ws_col > 0)
                columns = size.ws_col;
        else if (!text || parse_unsigned(text, &columns) < 0 || columns == 0)
                columns = 80;
        return MIN(columns, COLUMNS_MAX);
}

static const char *chosen_locale(void)
{
        static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const char *value = getenv(names[i]);

                if (value && value[0])
                        return value;
        }
        return NULL;
}

bool terminal_utf8(void)
{
        const char *locale = chosen_locale();

        return !locale || strcasestr(locale, "utf-8") || strcasestr(locale, "utf8");
}

bool terminal_colour(int fd)
{
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return isatty(fd) && !(no && no[0]) && term && !streq(term, "dumb");
}

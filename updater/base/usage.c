/* SPDX-License-Identifier: MIT */

#include "base/usage.h"

#include <errno.h>
#include <getopt.h>

static int hint(const char *program, Why *why)
{
        return fail_hint(why, -EINVAL, "see %s --help", program);
}

/* One of several letters: getopt has not passed over the word yet. */
static bool among_letters(const char *word)
{
        return word && word[0] == '-' && word[1] != '-' && optopt > 0 && optopt < 256 && strchr(word, optopt);
}

int usage_option(int c, char *const argv[], const char *program, Why *why)
{
        const char *arg = argv[optind - 1];
        bool letter = among_letters(argv[optind]) || among_letters(arg);

        if (c == ':')
                (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%s: needs a value", arg);
        else if (letter)
                (void) fail(why, -EINVAL, WHY_USAGE, "usage", "-%c: no such option", optopt);
        else
                (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%s: %s", arg,
                            optopt != 0 ? "takes no value" : "no such option");
        return hint(program, why);
}

int usage_arguments(const char *problem, const char *program, Why *why)
{
        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%s", problem);
        return hint(program, why);
}

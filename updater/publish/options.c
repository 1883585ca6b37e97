/* SPDX-License-Identifier: MIT */

#include "publish/options.h"
#include "base/str.h"

#include <errno.h>

#define HELP_COLUMN 30

static int parse_size(const char *text, uint64_t *ret)
{
        static const char units[] = "KMGT";
        size_t n = strlen(text);
        const char *unit = n > 0 ? strchr(units, text[n - 1]) : NULL;
        char digits[24];
        uint64_t value;

        if (n >= sizeof(digits))
                return -EINVAL;
        memcpy(digits, text, n + 1);
        if (unit && *unit)
                digits[n - 1] = 0;
        if (parse_u64(digits, &value) < 0)
                return -EINVAL;
        for (const char *u = units; unit && *unit && u <= unit; u++)
                if (__builtin_mul_overflow(value, (uint64_t) 1024, &value))
                        return -ERANGE;
        *ret = value;
        return 0;
}

static int set_value(const Option *o, const char *text)
{
        switch (o->type) {
        case OPTION_TEXT:
                *(const char **) o->value = text;
                return 0;
        case OPTION_LIST:
                return strv_add(o->value, text);
        case OPTION_NUMBER:
                return parse_u64(text, o->value);
        case OPTION_SIZE:
                return parse_size(text, o->value);
        case OPTION_DURATION:
                return parse_duration(text, o->value);
        case OPTION_TIME:
                return parse_time(text, o->value);
        default:
                return -EINVAL;
        }
}

/* The option that an argument names; *ret_value is what stands behind '='. */
static const Option *find(const Option *options, size_t n, const char *arg, const char **ret_value)
{
        for (size_t i = 0; i < n; i++) {
                const Option *o = &options[i];
                size_t len = o->name ? strlen(o->name) : 0;

                if (o->type == OPTION_HEADING)
                        continue;
                *ret_value = NULL;
                if (o->letter && arg[0] == '-' && arg[1] == o->letter && !arg[2])
                        return o;
                if (len == 0 || !str_starts(arg, "--") || strncmp(arg + 2, o->name, len) != 0)
                        continue;
                if (arg[2 + len] == '=')
                        *ret_value = arg + 3 + len;
                if (arg[2 + len] == 0 || arg[2 + len] == '=')
                        return o;
        }
        return NULL;
}

static int usage(Why *why, const char *verb, const char *arg, const char *problem)
{
        return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "usage", "%s: %s: %s", verb, arg, problem),
                         "see gybe-release %s --help", verb);
}

int options_parse(const Option *options, size_t n, const char *verb, char *const argv[], char ***ret_rest,
                  Why *why)
{
        _cleanup_(strv_freep) char **rest = NULL;
        bool plain = false;

        for (; *argv; argv++) {
                const char *arg = *argv, *value = NULL;
                const Option *o;

                if (plain || arg[0] != '-' || streq(arg, "-")) {
                        if (strv_add(&rest, arg) < 0)
                                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", verb);
                        continue;
                }
                plain = streq(arg, "--");
                if (plain)
                        continue;
                o = find(options, n, arg, &value);
                if (!o)
                        return usage(why, verb, arg, "no such option");
                if (o->type == OPTION_FLAG) {
                        if (value)
                                return usage(why, verb, arg, "takes no value");
                        *(bool *) o->value = true;
                        continue;
                }
                if (!value && !(value = *++argv))
                        return usage(why, verb, arg, "needs a value");
                if (set_value(o, value) < 0)
                        return fail_hint(why,
                                         fail(why, -EINVAL, WHY_USAGE, "usage", "%s: --%s %s: not a %s", verb,
                                              o->name, value, o->arg),
                                         "see gybe-release %s --help", verb);
        }
        *ret_rest = TAKE(rest);
        return 0;
}

static void help_row(Str *s, const Option *o)
{
        _cleanup_(free_charp) char *left = NULL;

        if (o->type == OPTION_HEADING) {
                str_addf(s, "\n%s\n", o->help);
                return;
        }
        left = o->letter ? str_printf("  -%c, --%s%s%s", o->letter, o->name, o->arg ? " " : "", o->arg ?: "")
                         : str_printf("  --%s%s%s", o->name, o->arg ? " " : "", o->arg ?: "");
        if (!left)
                return;
        str_addf(s, "%-*s", HELP_COLUMN - 1, left);
        for (const char *p = o->help; *p;) {
                size_t len = strcspn(p, "\n");

                str_addf(s, "%*s%.*s\n", p == o->help ? 1 : HELP_COLUMN, "", (int) len, p);
                p += len + (p[len] == '\n');
        }
}

char *options_help(const Option *options, size_t n, const char *use, const char *story)
{
        Str s = STR_NULL;

        str_addf(&s, "%s\n\n%s\n", use, story);
        if (n > 0 && options[0].type != OPTION_HEADING)
                str_add(&s, "\n");
        for (size_t i = 0; i < n; i++)
                help_row(&s, &options[i]);
        return str_take(&s);
}

/* SPDX-License-Identifier: MIT */
#pragma once

/* A verb's options as a table: parsed and explained from the same rows. */

#include "base/why.h"

typedef enum OptionType {
        OPTION_FLAG,     /* bool */
        OPTION_TEXT,     /* const char * */
        OPTION_LIST,     /* char **, grows */
        OPTION_NUMBER,   /* uint64_t */
        OPTION_SIZE,     /* uint64_t bytes: "1G", "192M", "32K", plain */
        OPTION_DURATION, /* uint64_t seconds: "90d", "1h30m" */
        OPTION_TIME,     /* uint64_t seconds since the epoch, RFC 3339 */
        OPTION_HEADING,  /* no option: a line in the help */
} OptionType;

typedef struct Option {
        const char *name; /* "usr" for --usr */
        char letter;      /* 'o' for -o, 0 none */
        OptionType type;
        void *value;
        const char *arg; /* "IMG" */
        const char *help;
} Option;

/* --name VALUE, --name=VALUE, -x VALUE; "--" ends options. What is no option goes to rest. */
int options_parse(const Option *options, size_t n, const char *verb, char *const argv[], char ***ret_rest,
                  Why *why);
/* The help of a verb, as text. */
char *options_help(const Option *options, size_t n, const char *usage, const char *story);

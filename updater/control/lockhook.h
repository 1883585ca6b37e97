/* SPDX-License-Identifier: MIT */
#pragma once

/* An operator's program that decides whether this host may reboot: `HOOK lock` before the flip, `HOOK unlock` when the lock is
 * not needed any more. Both may be repeated. Exit 0: granted (given back); 75 (EX_TEMPFAIL) of lock: not now, and nothing is
 * held; anything else: failed. */

#include "base/env.h"

#define LOCKHOOK_WAIT       75
#define LOCKHOOK_OUTPUT_MAX (8u * 1024u)
#define LOCKHOOK_TEXT_MAX   200u

typedef enum LockhookAnswer {
        LOCKHOOK_GRANTED,
        LOCKHOOK_NOT_NOW,
        LOCKHOOK_FAILED,
} LockhookAnswer;

typedef struct LockhookReply {
        LockhookAnswer answer;
        char how[64];                 /* "exit code 3", "killed by signal 9", "no answer within 60 s" */
        char text[LOCKHOOK_TEXT_MAX]; /* the last line of what it said, printable; "" nothing */
} LockhookReply;

/* variables: NULL-terminated "K=V" list. Negative: it could not be run. */
int lockhook_run(const Env *env, const char *path, const char *word, char *const *variables,
                 uint64_t timeout_sec, LockhookReply *ret, Why *why);

/* SPDX-License-Identifier: MIT */
#pragma once

/* Runs a program to its end: a deadline for it and its whole process group, bounded output, nothing inherited but what
 * is named. */

#include "base/mem.h"

typedef struct RunResult {
        bool timed_out;
        int exit_code; /* -1 when killed by a signal */
        int signal;
        Bytes output; /* stdout and stderr together, the last output_max bytes */
} RunResult;

typedef struct RunOptions {
        int exe_fd; /* run this file (fexecve semantics) instead of argv[0]; -1: argv[0] is a path */
        int cwd_fd; /* -1: inherit */
        char *const *environ; /* NULL: a clean PATH only */
        uint64_t timeout_sec; /* 0: none */
        bool outside; /* an operator's program: it is to see the host as it is, not as our own sandbox shows it */
        size_t output_max;
} RunOptions;

/* A sandboxed unit names in this variable the program that starts others for us (systemd-run). Without it there is no sandbox. */
#define RUN_OUTSIDE "GYBE_OUTSIDE"

void run_result_done(RunResult *r);
int run(char *const argv[], const RunOptions *options, RunResult *ret);

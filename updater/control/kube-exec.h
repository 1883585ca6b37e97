/* SPDX-License-Identifier: MIT */
#pragma once

/* An exec plugin of a kubeconfig: a program that prints who we are. It runs as we run, without a terminal, with a limit of time and
 * of output; what it says on stderr is ours to say. */

#include "control/kube-config.h"

#include <systemd/sd-event.h>

typedef struct KubeExecRun KubeExecRun;

/* dir_fd: relative commands with a slash are relative to the kubeconfig's folder. on_end: NULL credential and why when it failed. */
int kube_exec_begin(sd_event *event, const KubeConfig *config, const Bytes *ca, const char *folder,
                    void (*on_end)(void *ctx, KubeCredential *credential, const Why *why), void *ctx,
                    KubeExecRun **ret, Why *why);
/* Ends it. NULL is taken. */
KubeExecRun *kube_exec_free(KubeExecRun *run);

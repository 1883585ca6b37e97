/* SPDX-License-Identifier: MIT */
#pragma once

/* What is there right now: configuration, disk, running slot, boot loader, and what the state files remember. Read-only.
 * A part that cannot be read leaves its sentence in a Why of its own, so that `gybe status` can still draw the rest; verbs
 * that change something ask host_require() first. */

#include "bootloader/bootloader.h"
#include "config.h"
#include "policy/policy.h"
#include "slot/slot.h"
#include "state/state.h"

typedef struct Host {
        const Env *env;
        Config config;
        Why config_why; /* the first thing in configuration or policy that is wrong; what it says is left out */
        Policy policy;

        Disk *disk;
        bool has_layout;
        SlotLayout layout;
        Why disk_why;
        SlotRunning running;
        Why running_why;

        Boot *boot;
        bool has_boot_state;
        BootState boot_state;
        Why boot_why;

        Journal journal;
        bool journal_lost;
        bool quarantine_due; /* host_foresee(): what failed goes to quarantine when somebody writes it down */
        TrustState trust;
        bool trust_lost;
        Intent intent;
        bool has_intent;

        char *boot_id;
        char *machine_id; /* 32 hex digits; NULL unknown */
        char *version;    /* of the running OS; NULL unknown */
        const char *arch; /* "x86_64" or "aarch64" */
        uint64_t time_floor;
        bool clock_synchronised;
        bool secure_boot;
} Host;

int host_open(const Env *env, const char *disk_path, Host *ret, Why *why);
void host_done(Host *host);
/* After something changed on the ESP or in the variables. */
int host_refresh_boot(Host *host, Why *why);
/* Disk, layout, running slot and boot loader are all known; else the first sentence of those that are not. */
int host_require(const Host *host, Why *why);

/* What the next verb will find, without writing it: phase, reason and message of the journal in memory. */
int host_foresee(Host *host, Why *why);
int host_recovery_facts(Host *host, RecoveryFacts *ret, Why *why);
/* The record of the running slot in trust.json, NULL when it was never adopted. */
const SlotRecord *host_running_record(const Host *host);

/* SPDX-License-Identifier: MIT */
#pragma once

/* gybe.json: vendor (/usr/lib/gybe), operator (/etc/gybe) and runtime (/run/gybe) files with their gybe.json.d drop-ins,
 * merged by field into one Config. formats.md section 5. Policy drop-ins are read by policy_load(). */

#include "base/env.h"
#include "bootloader/bootloader.h"
#include "disk/disk.h"
#include "fetch/fetch.h"
#include "health/health.h"
#include "slot/slot.h"

typedef enum SourceType {
        SOURCE_NONE,
        SOURCE_FEED,
        SOURCE_OCI,
        SOURCE_OMAHA,
        SOURCE_OSTREE,
        _SOURCE_MAX,
        _SOURCE_INVALID = -22,
} SourceType;

typedef enum TrustRequire {
        TRUST_RELEASE = 1 << 0,
        TRUST_SECUREBOOT = 1 << 1,
        TRUST_SERVER = 1 << 2, /* the metadata hash that an authenticated update server names */
} TrustRequire;

typedef struct Config {
        char *product;
        char *channel;
        char *esp;              /* path of the mounted ESP inside the root, default /boot */
        char *version_path;     /* where the running OS says its version ... */
        char *version_key;      /* ... and under which key */
        BootLoader boot_loader; /* bootloader, default auto */
        SlotConfig slots;       /* disk.layout */
        SourceType source;
        char *source_type, *source_url;                          /* the type as it is written, "none" */
        char *omaha_app, *omaha_track, *omaha_alias, *omaha_oem; /* NULL not set */
        OmahaHash omaha_hash;
        uint64_t source_interval; /* seconds between two questions of the agent, default an hour */
        unsigned
                require; /* TrustRequire bits; TRUST_SECUREBOOT is added when the machine booted with it on */
        bool require_configured; /* trust.require was set: then nothing is added */
        unsigned max_window_log; /* image.maxWindowLog, default 27 */
        FetchOptions http;
        char *report_url, *report_bearer_file; /* who is told of outcomes; NULL: nobody */
        bool compat_coreos_update1;            /* gybed also answers as update_engine did */
        HealthConfig health;
        bool health_lost; /* what it says is wrong and left out: nothing may be called healthy for want of a question */
} Config;

/* What is wrong is said in *why (the first of it), left out, and 0 is returned: negative is only a machine without memory. */
int config_load(const Env *env, Config *ret, Why *why);
void config_done(Config *config);

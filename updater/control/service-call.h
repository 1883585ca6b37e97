/* SPDX-License-Identifier: MIT */
#pragma once

/* One method call, understood: its arguments within their limits, and who called. Whatever is wrong with it is said before
 * anybody is asked for a password. Used by the service only. */

#include "base/env.h"
#include "control/job.h"

typedef struct sd_bus_message sd_bus_message;

/* Limits of what a caller may send; what waits for a password is no larger than this. */
#define CALL_VERSION_MAX 128u
#define CALL_RELEASE_MAX 4096u /* a path, or a URL as long as servers take them */
#define CALL_NAME_MAX    256u  /* of an application or a track */
#define CALL_REASON_MAX  256u  /* a sentence */

typedef enum CallOption {
        CALL_OPTION_VERSION = 1 << 0,
        CALL_OPTION_RELEASE = 1 << 1,
        CALL_OPTION_DOWNGRADE = 1 << 2,
        CALL_OPTION_OVERRIDE = 1 << 3,
        CALL_OPTION_NO_REBOOT = 1 << 4,
        CALL_OPTION_AT = 1 << 5,
        CALL_OPTION_OMAHA_URL = 1 << 6,
        CALL_OPTION_OMAHA_APP = 1 << 7,
        CALL_OPTION_OMAHA_TRACK = 1 << 8,
} CallOption;

typedef struct Call {
        unsigned given; /* CallOption */
        char *version, *release, *omaha_url, *omaha_app, *omaha_track;
        bool allow_downgrade, override, no_reboot;
        uint64_t at;

        char *text, *reason; /* arguments of their own */
        uint64_t until;      /* seconds; UINT64_MAX: for ever */

        uint64_t uid;
        char *user; /* NULL unknown */
} Call;

void call_done(Call *call);
Call *call_free(Call *call);
void call_freep(Call **call);

/* Reading moves on in the message. -EINVAL with WHY_USAGE for what a caller did wrong. */
int call_read_options(sd_bus_message *m, unsigned allowed, Call *call, Why *why);
/* Printable, at least min and at most max bytes. */
int call_read_text(sd_bus_message *m, const char *what, size_t min, size_t max, char **ret, Why *why);
/* Microseconds of the bus as seconds; 0: UINT64_MAX. */
int call_read_until(sd_bus_message *m, uint64_t *ret, Why *why);
/* Who called, as the bus knows it. */
int call_read_caller(sd_bus_message *m, const Env *env, Call *call, Why *why);

/* Answers with the error that r and *why are. Returns 1, or negative when nothing could be sent. */
int call_refuse(sd_bus_message *m, int r, const Why *why);

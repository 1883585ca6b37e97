/* SPDX-License-Identifier: MIT */
#pragma once

/* What is told to whoever keeps watch over the fleet: one report an outcome, made from the line that history got. Pure; where
 * reports wait is state/outbox.c, who sends them update-deliver.c. */

#include "base/json.h"

#define REPORT_ID_SIZE 37u

typedef struct ReportHost {
        const char *id;                       /* hostid(); NULL unknown */
        const char *name, *product, *channel; /* NULL unknown */
} ReportHost;

typedef struct Report {
        char id[REPORT_ID_SIZE];
        bool progress; /* overtaken by what comes after it, and so the first to go when there is no room */
        Json *document;
} Report;

void report_done(Report *r);
/* 1 and *ret, 0: nobody needs to be told of this event. An outcome that is recorded again (after a crash) gets the same id. */
int report_make(const Json *event, const ReportHost *host, uint64_t now, Report *ret);

typedef enum ReportVerdict {
        REPORT_DELIVERED,
        REPORT_REJECTED, /* this one never; the next one may */
        REPORT_LATER,
} ReportVerdict;

ReportVerdict report_judge(unsigned status);

/* SPDX-License-Identifier: MIT */
#pragma once

/* What gybe and gybe-job have in common: the verbs of the walk by name, each with the sentence that ends it, the documents
 * that answer them, and the reboot that follows. Knows neither terminals nor files nor a bus. */

#include "base/json.h"
#include "update.h"

typedef int (*AnswerVerb)(Update *u, Why *why);

/* check, stage, finalize, update, commit, rollback; NULL for any other name. */
AnswerVerb answer_verb(const char *name);

/* gybe.result/1 */
Json *answer_result(const Update *u, const char *verb);
/* {"error": {kind, code, message, hint}}: r is the negative errno that came with *why. */
Json *answer_error(const Why *why, int r);

/* A due reboot in one sentence; NULL when none is due. Static. */
const char *answer_reboot_text(const Update *u);
/* Asks the machine for the reboot that is due: 1. 0: it is only due, in a host made of files, with no_reboot, and where
 * somebody else (kured) decides when. */
int answer_reboot(Update *u, Why *why);

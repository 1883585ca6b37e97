/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static uint64_t test_now(void *ctx _unused_)
{
        return 1793772000;
}

static void test_owes(void)
{
        enum {
                G = OMAHA_STEP_GRANTED,
                D = OMAHA_STEP_DOWNLOADING,
                DD = OMAHA_STEP_DOWNLOADED,
                I = OMAHA_STEP_INSTALLED,
                C = OMAHA_STEP_COMPLETE,
                E = OMAHA_STEP_ERROR,
                N = OMAHA_STEP_NONE
        };
        static const struct {
                OmahaStep step;
                const char *id; /* of the grant; the journal's is "u" */
                Phase phase;
                Outcome outcome;
                Reason reason;
                bool staging;
                OmahaStep owes;
        } cases[] = {
                { N, "u", PHASE_IDLE, OUTCOME_COMMITTED, 0, false, N },
                { C, "u", PHASE_IDLE, OUTCOME_COMMITTED, 0, false, N }, /* told once */
                { E, "u", PHASE_IDLE, OUTCOME_REJECTED, 0, false, N },
                { G, NULL, PHASE_IDLE, 0, 0, false, N },   /* waits for a window, say */
                { G, NULL, PHASE_STAGED, 0, 0, false, N }, /* beside another one that is staged */
                { D, NULL, PHASE_TRUSTED, 0, 0, true, N },
                { D, NULL, PHASE_TRUSTED, 0, 0, false, E }, /* killed while it downloaded */
                { D, NULL, PHASE_IDLE, 0, 0, false, E },
                { G, "u", PHASE_STAGED, 0, 0, false, D }, /* lay there already */
                { D, "u", PHASE_STAGED, 0, 0, false, DD },
                { DD, "u", PHASE_STAGED, 0, 0, false, N },
                { DD, "u", PHASE_FINALIZED, 0, 0, false, I },
                { D, "u", PHASE_FINALIZED, 0, 0, false, DD }, /* nothing is left out */
                { I, "u", PHASE_FINALIZED, 0, 0, false, N },
                { I, "u", PHASE_STAGED, 0, 0, false, N }, /* disarmed: it does not go back */
                { I, "u", PHASE_PROBATION, 0, REASON_TARGET_BOOTED, false, N },
                { DD, "u", PHASE_PROBATION, 0, REASON_TARGET_BOOTED, false, I },
                { I, "u", PHASE_PROBATION, 0, REASON_HEALTH_FALLBACK, false, E },
                { I, "u", PHASE_PROBATION, 0, REASON_DEADLINE, false, E },
                { I, "u", PHASE_PROBATION, 0, REASON_OPERATOR, false, E },
                { I, "u", PHASE_IDLE, OUTCOME_COMMITTED, REASON_TARGET_BOOTED, false, C },
                { DD, "u", PHASE_IDLE, OUTCOME_COMMITTED, REASON_TARGET_BOOTED, false, C },
                { I, "u", PHASE_IDLE, OUTCOME_ROLLED_BACK, REASON_FIRMWARE_FALLBACK, false, E },
                { I, "u", PHASE_IDLE, OUTCOME_REJECTED, REASON_HEALTH_FALLBACK, false, E },
                { I, "u", PHASE_IDLE, OUTCOME_NONE, REASON_REIMAGED, false, E },
                { DD, "other", PHASE_STAGED, 0, 0, false, E }, /* superseded */
                { I, "other", PHASE_IDLE, OUTCOME_COMMITTED, 0, false, E },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                OmahaGrant g = { .step = cases[i].step, .update_id = (char *) cases[i].id };
                Journal j = { .phase = cases[i].phase,
                              .outcome = cases[i].outcome,
                              .reason = cases[i].reason,
                              .update_id = (char *) "u" };
                OmahaStep owes = omaha_grant_owes(&g, &j, cases[i].staging);

                if (owes != cases[i].owes)
                        fprintf(stderr, "case %zu: %d, not %d\n", i, (int) owes, (int) cases[i].owes);
                assert(owes == cases[i].owes);
        }
}

/* From every step and every state it comes to rest, and never tells anything behind a terminal event. */
static void test_rests(void)
{
        for (OmahaStep s = 0; s < _OMAHA_STEP_MAX; s++)
                for (Phase p = 0; p < _PHASE_MAX; p++)
                        for (Outcome o = 0; o < _OUTCOME_MAX; o++) {
                                OmahaGrant g = { .step = s, .update_id = (char *) "u" };
                                Journal j = { .phase = p, .outcome = o, .update_id = (char *) "u" };
                                OmahaStep before = s, owes;

                                for (int n = 0; (owes = omaha_grant_owes(&g, &j, false)) != OMAHA_STEP_NONE;
                                     n++) {
                                        assert(n < 5 && owes > before && before < OMAHA_STEP_COMPLETE);
                                        g.step = before = owes;
                                }
                        }
}

static void test_file(const Env *env)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 }, h = { 0 }, none = { 0 };
        static const char newer[] = "{\"schema\": \"gybe.omaha/1\", \"step\": \"granted\", \"id\": \"i\", "
                                    "\"url\": \"https://h/\", "
                                    "\"app\": \"a\", \"track\": \"t\", \"version\": \"1.0.1\", \"from\": "
                                    "\"1.0.0\", \"later\": [1]}";

        assert(omaha_grant_load(env, &none, NULL) == 0 && none.step == OMAHA_STEP_NONE && !none.url);
        assert(omaha_grant_parse(newer, strlen(newer), &g, NULL) == 0 && g.step == OMAHA_STEP_GRANTED &&
               !g.update_id);
        g.step = OMAHA_STEP_INSTALLED;
        g.update_id = strdup("u");
        g.since = 1793772000;
        assert(omaha_grant_save(env, &g, NULL) == 0 && omaha_grant_load(env, &h, NULL) == 0);
        assert(h.step == OMAHA_STEP_INSTALLED && streq(h.url, "https://h/") && streq(h.update_id, "u") &&
               h.since == g.since);
        assert(json_get(h.unknown, "later")); /* a later version's field survives */
}

static void test_lost(void)
{
        static const char *const cases[] = {
                "",
                "[]",
                "{\"schema\": \"gybe.omaha/2\", \"step\": \"none\"}",
                "{\"schema\": \"gybe.omaha/1\"}",
                "{\"schema\": \"gybe.omaha/1\", \"step\": \"flying\"}",
                "{\"schema\": \"gybe.omaha/1\", \"step\": \"granted\", \"id\": \"i\"}",
                "{\"schema\": \"gybe.omaha/1\", \"step\": \"none\", \"id\": 7}",
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                OmahaGrant g = { 0 };
                Why why = { 0 };

                assert(omaha_grant_parse(cases[i], strlen(cases[i]), &g, &why) < 0 && why.kind == WHY_HOST &&
                       !g.id);
        }
        for (OmahaStep s = 0; s < _OMAHA_STEP_MAX; s++)
                assert(omaha_step_from_name(omaha_step_name(s)) == s);
}

int main(void)
{
        char dir[] = "/tmp/gybe-omaha-XXXXXX";
        Env env = ENV_NULL;
        char *command;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) == 0);
        env.now = test_now;
        test_owes();
        test_rests();
        test_file(&env);
        test_lost();
        env_done(&env);
        command = str_printf("rm -rf %s", dir);
        assert(command && system(command) == 0);
        free(command);
        return 0;
}

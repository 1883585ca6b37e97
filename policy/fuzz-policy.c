/* SPDX-License-Identifier: MIT */
#include "base/json.h"
#include "base/str.h"
#include "policy/policy.h"
#include "policy/zone.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever a drop-in says: it is taken whole or not at all, every door answers in valid words, T keeps its promise, and the
 * explanation is a document again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint64_t times[] = { 0, 1790000000, 253402300799, UINT64_MAX - 1 };
        static PolicyZone *utc;
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        Why why = { 0 };

        if (size > 256 * 1024)
                return 0;
        if (!utc && policy_zone_utc("UTC", &utc) < 0)
                return 0;
        if (policy_parse(data, size, "fuzz", &p, &why) < 0) {
                assert(why.kind == WHY_USAGE && !p.files && !p.pin && !p.skip && p.n_windows == 0);
                return 0;
        }
        for (size_t i = 0; i < p.n_windows; i++)
                p.windows[i].zone = utc;
        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                PolicySubject s = { .version = p.pin ? p.pin : "1",
                                    .issued = times[i] / 2,
                                    .machine_id = "m",
                                    .unattended = size % 2,
                                    .override = size % 3 == 0 };
                uint64_t next = policy_next_change(&p, &s, times[i]);

                assert(next > times[i]);
                for (PolicyDoor d = 0; d < _POLICY_DOOR_MAX; d++) {
                        PolicyVerdict v, then;

                        policy_ask(&p, d, &s, times[i], &v);
                        assert((v.answer == POLICY_GO) == !v.rule);
                        if (v.answer != POLICY_WAIT || v.until == UINT64_MAX)
                                continue;
                        assert(v.until > times[i] && next <= v.until);
                        policy_ask(&p, d, &s, v.until, &then);
                        assert(then.answer == POLICY_GO);
                }
                if (times[i] > 253402300799)
                        continue;
                _cleanup_(json_unrefp) Json *e = policy_explain(&p, &s, times[i]), *again = NULL;
                _cleanup_(free_charp) char *text = policy_explain_text(e), *document = json_format(e, false);
                if (text && document)
                        assert(json_parse(document, strlen(document), 0, JSON_DEPTH_MAX, "e", WHY_HOST,
                                          &again, NULL) >= 0);
        }
        return 0;
}

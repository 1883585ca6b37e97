/* SPDX-License-Identifier: MIT */

/* An answer of an update server, from its bytes to the offer: both halves, although only the first sees bytes. */

#include "fetch/omaha-xml.h"
#include "fetch/values.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const OmahaReply *r)
{
        const OmahaReport report = { .event = OMAHA_ERROR };
        OmahaAsk ask = { .app = r->app ? r->app : "", .check = true };
        _cleanup_(offer_done) Offer a = { 0 }, b = { 0 };

        assert(r->n_packages <= OMAHA_PACKAGES_MAX && r->n_apps <= OMAHA_COUNT_MAX + 1);
        for (int i = 0; i < 4; i++) {
                Why why = { 0 };
                int k;

                ask.check = i & 1;
                ask.report = i & 2 ? &report : NULL;
                k = omaha_judge(r, &ask, &why);
                assert(k >= 0 || why.kind == WHY_NETWORK);
                if (k != OMAHA_OFFER)
                        continue;
                if (omaha_offer(r, OMAHA_HASH_IGNORE, &a, NULL) == 0)
                        assert(a.release_url);
                (void) omaha_offer(r, OMAHA_HASH_METADATA_SHA384, &b, NULL);
                offer_done(&a);
                offer_done(&b);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(omaha_reply_done) OmahaReply reply = { 0 }, there = { 0 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        WireUnpack u = wire_unpack(data, size);
        Why why = { 0 };

        /* what a child that was taken over says instead */
        if (value_get_omaha(&u, &there) == 0)
                look(&there);
        omaha_reply_done(&there);
        if (omaha_parse(data, size, &reply, &why) < 0) {
                assert(why.kind == WHY_NETWORK || why.kind == WHY_HOST);
                return 0;
        }
        reply.status = 200;
        look(&reply);
        value_put_omaha(&p, &reply);
        u = wire_unpack(p.bytes.data, p.bytes.size);
        assert(!p.failed && p.bytes.size <= VALUE_OMAHA_MAX);
        if (value_get_omaha(&u, &there) == 0)
                assert(there.n_packages == reply.n_packages && streq0(there.codebase, reply.codebase) &&
                       streq0(there.app_status, reply.app_status) && there.n_events == reply.n_events);
        return 0;
}

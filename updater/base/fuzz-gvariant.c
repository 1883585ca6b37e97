/* SPDX-License-Identifier: MIT */

/* First byte: which type the rest is read as. Everything inside is visited; nothing may lie outside. */

#include "base/gvariant.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(const GVariant *v, const uint8_t *data, size_t size, unsigned depth, size_t *budget)
{
        const char *text;
        size_t n = 0;

        assert(v->size == 0 || (v->data >= data && v->size <= size - (size_t) (v->data - data)));
        if (gvariant_str(v, &text) == 0)
                assert(strlen(text) + 1 == v->size);
        if (depth > 8 || gvariant_n_children(v, &n) < 0)
                return;
        for (size_t i = 0; i<n && * budget> 0; i++) {
                GVariant c;

                (*budget)--;
                if (gvariant_child(v, i, &c) == 0)
                        visit(&c, data, size, depth + 1, budget);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const types[] = {
                "a{sv}", "(a{sv}aya(say)sstayay)", "(a(say)a(sayay))", "(tuuuusa(ayay))",
                "v",     "(a(uuu)aa(ayay)ayay)"
        };
        size_t budget = 20000;
        GVariant v, c;

        if (size == 0 || gvariant_open(types[data[0] % ELEMENTSOF(types)], data + 1, size - 1, &v) < 0)
                return 0;
        visit(&v, data + 1, size - 1, 0, &budget);
        (void) gvariant_lookup(&v, "version", &c);
        return 0;
}

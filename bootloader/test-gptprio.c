/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* The arithmetic of priority, tries and successful: what GRUB would take, and that arming and keeping leave exactly one way
 * forward and one way back, from whatever state. The verbs themselves: integration-tests/walk/test-gptprio.py. */

#include "bootloader/gptprio.h"
#include "base/str.h"

#include <assert.h>

static void test_bits(void)
{
        const uint64_t other = UINT64_C(1) << 60 | 1; /* read-only, required: not ours */
        Prio p = { .priority = 15, .tries = 2, .successful = true };

        assert(prio_in(0, p) == (UINT64_C(0x12f) << 48));
        assert(prio_equal(prio_of(prio_in(other, p)), p));
        assert((prio_in(other | UINT64_C(0x1ff) << 48, (Prio){ 0 }) ^ other) == 0);
}

static void test_choice(void)
{
        static const struct {
                Prio pair[2];
                int next, stays;
        } table[] = {
                { { { 0, 0, false }, { 0, 0, false } }, -1, -1 },
                { { { 1, 0, true }, { 0, 0, false } }, 0, 0 },
                { { { 1, 0, true }, { 2, 1, false } }, 1, 0 },   /* armed */
                { { { 1, 0, true }, { 2, 0, false } }, 0, 0 },   /* tried */
                { { { 1, 0, true }, { 2, 0, true } }, 1, 1 },    /* committed */
                { { { 1, 0, true }, { 1, 0, true } }, 0, 0 },    /* equals: the first */
                { { { 0, 0, true }, { 0, 3, false } }, -1, -1 }, /* priority 0 is never */
                { { { 3, 1, true }, { 2, 0, true } }, 0, 0 },
                { { { 3, 1, false }, { 2, 0, true } }, 0, 1 }, /* a rollback on its way */
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                assert(prio_next(table[i].pair, 2) == table[i].next);
                assert(prio_default(table[i].pair, 2) == table[i].stays);
        }
}

/* All 2^18 states. */
static void test_all(void)
{
        for (uint32_t state = 0; state < 1u << 18; state++) {
                const Prio was[2] = { prio_of((uint64_t) (state & 0x1ff) << 48),
                                      prio_of((uint64_t) (state >> 9) << 48) };

                for (int slot = 0; slot < 2; slot++) {
                        Prio pair[2] = { was[0], was[1] }, tried[2];

                        prio_keep(pair, slot);
                        assert(prio_next(pair, 2) == slot && prio_default(pair, 2) == slot);
                        assert(pair[0].tries == 0 && pair[1].tries == 0 && pair[slot].successful);
                        assert(pair[1 - slot].successful == was[1 - slot].successful);

                        prio_arm(pair, 1 - slot);
                        assert(prio_next(pair, 2) == 1 - slot && prio_default(pair, 2) == slot);
                        assert(pair[slot].priority > 0 && pair[1 - slot].tries == 1);
                        memcpy(tried, pair, sizeof(tried));
                        tried[1 - slot].tries--;
                        assert(prio_next(tried, 2) == slot);
                }
        }
}

static void test_names(void)
{
        assert(gptprio_slot_of("vmlinuz-a") == 0 && gptprio_slot_of("VMLINUZ-B") == 1);
        assert(gptprio_slot_of("vmlinuz-b.staged") == -1 && gptprio_slot_of(NULL) == -1);
        assert(boot_loader_from_name("auto") == BOOT_LOADER_AUTO && boot_loader_from_name("grub") < 0);
}

int main(void)
{
        test_bits();
        test_choice();
        test_all();
        test_names();
        return 0;
}

/* SPDX-License-Identifier: MIT */

/* Names of slots, and what gybe.json says of them. Apart from the rest of the room: who only reads the configuration (the
 * agent) does not carry the libraries that read disks. */

#include "base/str.h"
#include "slot/slot.h"

#include <errno.h>

static const char *const slot_names[_SLOT_MAX] = { [SLOT_A] = "a", [SLOT_B] = "b" };

const char *slot_name(SlotId slot)
{
        return slot == SLOT_A || slot == SLOT_B ? slot_names[slot] : "?";
}

SlotId slot_from_name(const char *name)
{
        for (unsigned i = 0; i < _SLOT_MAX; i++)
                if (name && streq(name, slot_names[i]))
                        return (SlotId) i;
        return _SLOT_INVALID;
}

void slot_config_done(SlotConfig *config)
{
        for (unsigned i = 0; i < _SLOT_MAX; i++) {
                SlotSelector *all[] = { &config->custom[i].data, &config->custom[i].hash,
                                        &config->custom[i].sig };

                for (size_t k = 0; k < ELEMENTSOF(all); k++) {
                        free(all[k]->label);
                        free(all[k]->partuuid);
                }
        }
        *config = (SlotConfig){ 0 };
}

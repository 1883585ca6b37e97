/* SPDX-License-Identifier: MIT */

/* Boot#### variables are firmware's and whoever had root once. */

#include "bootloader/efivar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        BootOption o = { 0 };

        if (boot_option_parse(data, size, &o) < 0) {
                if (o.description || o.path)
                        abort();
                return 0;
        }
        if (!o.description || (o.path && strlen(o.path) > BOOT_OPTION_PATH_MAX))
                abort();
        boot_option_done(&o);
        return 0;
}

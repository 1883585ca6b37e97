/* SPDX-License-Identifier: MIT */
#pragma once

/* metadata.json of a COSI 1.2, the inverse of cosi_parse(). Pure. */

#include "image/cosi.h"

typedef struct MetadataBoot {
        bool grub; /* Flatcar's: there is nothing more to say of it */
        const char *path, *kernel,
                *cmdline; /* of the UKI: "/boot/EFI/Linux/vmlinuz-6.6.efi", its .uname, its .cmdline */
} MetadataBoot;

/* cosi->usr and ->esp are not looked at; id is "" to leave it out. The text has no trailing newline. */
int metadata_format(const Cosi *cosi, uint64_t disk_size, const MetadataBoot *boot, const char *id,
                    char **ret);

/* SPDX-License-Identifier: MIT */

#include "control/hostid.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>

int hostid(const char *machine_id, char ret[HOSTID_SIZE])
{
        uint8_t machine[16], app[16], mac[SHA256_SIZE];
        int r;

        if (hex_decode(machine_id, machine, sizeof(machine)) < 0)
                return -EINVAL;
        r = hex_decode(HOSTID_APP, app, sizeof(app));
        if (r >= 0)
                r = hmac_sha256(machine, sizeof(machine), app, sizeof(app), mac);
        if (r < 0)
                return r;
        /* a random UUID by its look, as sd_id128_get_machine_app_specific(3) makes it */
        mac[6] = (uint8_t) ((mac[6] & 0x0f) | 0x40);
        mac[8] = (uint8_t) ((mac[8] & 0x3f) | 0x80);
        hex_encode(mac, 16, ret);
        return 0;
}

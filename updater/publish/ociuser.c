/* SPDX-License-Identifier: MIT */

/* Who we are to registries, as this engineer's other tools know it. */

#include "publish/publish.h"
#include "base/str.h"

#include <errno.h>
#include <unistd.h>

int publish_auth_file(const char *given, char **ret, Why *why)
{
        static const struct {
                const char *variable, *rest;
        } places[] = { { "REGISTRY_AUTH_FILE", "" },
                       { "XDG_RUNTIME_DIR", "/containers/auth.json" },
                       { "DOCKER_CONFIG", "/config.json" },
                       { "HOME", "/.docker/config.json" } };

        if (given) {
                *ret = realpath(given, NULL);
                return *ret ? 0 : fail_errno(why, -errno, WHY_USAGE, "%s", given);
        }
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                const char *value = secure_getenv(places[i].variable);
                _cleanup_(free_charp) char *path =
                        value && *value ? str_printf("%s%s", value, places[i].rest) : NULL;

                if (path && access(path, R_OK) == 0 && (*ret = realpath(path, NULL)))
                        return 0;
        }
        return 0;
}

/* SPDX-License-Identifier: MIT */

#include "control/systemd.h"

#include <errno.h>

static int no_systemd(Why *why)
{
        return fail(why, -ENOSYS, WHY_HOST, "no-systemd", "systemd: no system bus is at hand");
}

int systemd_units(const Env *env _unused_, HealthUnits *ret _unused_, Why *why)
{
        return no_systemd(why);
}

int systemd_start_unit(const Env *env _unused_, const char *unit _unused_, Why *why)
{
        return no_systemd(why);
}

int systemd_stop_unit(const Env *env _unused_, const char *unit _unused_, Why *why)
{
        return no_systemd(why);
}

int systemd_unit_is_running(const Env *env _unused_, const char *unit _unused_, Why *why)
{
        return no_systemd(why);
}

int systemd_reboot(const Env *env _unused_, bool override_inhibitors _unused_, Why *why)
{
        return no_systemd(why);
}

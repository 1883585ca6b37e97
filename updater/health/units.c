/* SPDX-License-Identifier: MIT */

#include "health/health.h"

void health_units_done(HealthUnits *units)
{
        for (size_t i = 0; i < units->n_units; i++) {
                free(units->units[i].name);
                free(units->units[i].load_state);
                free(units->units[i].active_state);
                free(units->units[i].sub_state);
                free(units->units[i].result);
        }
        free(units->units);
        *units = (HealthUnits){ 0 };
}

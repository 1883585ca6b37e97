/* SPDX-License-Identifier: MIT */
#pragma once

/* Between the files of the service: its life and its table (service.c), what is read (service-properties.c), what is called
 * (service-methods.c). */

#include "control/polkit.h"
#include "control/service.h"

#include <systemd/sd-bus.h>

#define SERVICE_NAME      "org.gybe.Update1"
#define SERVICE_PATH      "/org/gybe/Update1"
#define SERVICE_INTERFACE "org.gybe.Update1.Manager"

struct Service {
        const Env *env;
        Agent *agent;
        sd_bus *bus;
        sd_bus_slot *object;
        Polkit *polkit;
        void (*kick)(void *ctx);
        void *ctx;
        uint64_t progress_told_us; /* monotonic */
};

/* sd-bus calls these; userdata is the Service. */
int service_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error);
int service_changing_call(sd_bus_message *m, void *userdata, sd_bus_error *error); /* polkit decides */
int service_reading_call(sd_bus_message *m, void *userdata, sd_bus_error *error);  /* for everybody */

#define SERVICE_PROPERTIES_MAX 40u
/* Names of the properties that such a change (AgentChange bits) may have touched, NULL at the end. */
void service_touched(unsigned change_bits, char *ret[SERVICE_PROPERTIES_MAX]);

/* Any text, also none, as a string of the bus. */
int service_append_text(sd_bus_message *m, const char *text);
/* A document in one line. */
int service_append_json(sd_bus_message *m, const Json *j);

/* SPDX-License-Identifier: MIT */
#pragma once

/* org.gybe.Update1 on a bus: the agent's properties to read, its jobs to ask for, the operator's rules to change. The only
 * server side there is. Who may is decided by polkit (polkit.h); what a method means is written in org.gybe.Update1.xml, and a
 * test holds the two together. Never does work itself: jobs are ordered from the agent. */

#include "control/agent.h"

typedef struct sd_bus sd_bus;
typedef struct Service Service;

typedef struct ServiceOptions {
        const Env *env;
        Agent *agent;
        sd_bus *bus; /* attached to the event loop by the caller; borrowed, and must outlive the service */
        void (*kick)(
                void *ctx); /* something was asked for: agent_step() soon, but not from within this call */
        void *ctx;
} ServiceOptions;

/* Serves the object, then asks for the name (so that nobody sees the name without the object). -EEXIST with WHY_BUSY: another
 * agent has it. */
int service_open(const ServiceOptions *options, Service **ret, Why *why);
Service *service_free(Service *service);
void service_freep(Service **service);

/* From the agent's callbacks of the same names (agent.h): signals. */
void service_changed(Service *service, unsigned change_bits);
void service_job_ended(Service *service, const char *id, const char *verb, int exit_code, const Json *result);

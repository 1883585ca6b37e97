/* SPDX-License-Identifier: MIT */
#pragma once

/* gybed for gybe-node: asked over the bus, waited for by the loop. */

#include "control/node.h"

#include <systemd/sd-event.h>

typedef struct NodeBus NodeBus;

typedef struct NodeBusEvents {
        void (*on_describe)(void *ctx, const Json *status, const Why *why);
        void (*on_order)(void *ctx, const char *id, const Why *why);
        void (*on_job)(void *ctx, NodeJob is, int exit_code, const Json *result);
        void (*on_changed)(void *ctx); /* gybed told something, came or went */
        void *ctx;
} NodeBusEvents;

/* A bus that goes away ends the loop: systemd starts us anew. */
int node_bus_open(sd_event *event, const NodeBusEvents *events, NodeBus **ret, Why *why);
NodeBus *node_bus_free(NodeBus *b);

void node_bus_describe(NodeBus *b);
void node_bus_order(NodeBus *b, const NodeOrder *order);
void node_bus_ask_job(NodeBus *b, const char *id);

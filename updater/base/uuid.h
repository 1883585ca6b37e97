/* SPDX-License-Identifier: MIT */
#pragma once

/* A random (version 4) UUID as text; out needs 37 bytes. */
int uuid_random(char out[37]);

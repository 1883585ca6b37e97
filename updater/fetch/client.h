/* SPDX-License-Identifier: MIT */
#pragma once

/* For this room's tests and fuzzer: a client over any socket, with no process at the other end. */

#include "fetch/fetch.h"

/* takes sock; env is borrowed */
int fetch_adopt(const Env *env, int sock, Fetch **ret);

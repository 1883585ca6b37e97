/* SPDX-License-Identifier: MIT */
#pragma once

/* The child's side of the wire: takes requests until the socket is closed. */

/* The exit code. */
int serve(int sock);

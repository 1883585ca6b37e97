/* SPDX-License-Identifier: MIT */
#pragma once

/* What can be shown where a file descriptor leads to. */

#include "base/mem.h"

/* Columns of the terminal, by what it says itself, else by $COLUMNS, else 80; 0: not a terminal. */
unsigned terminal_columns(int fd);
/* Whether the locale has characters beyond ASCII. One that nobody chose counts as UTF-8: serial consoles and containers have
 * none and show it all the same. */
bool terminal_utf8(void);
/* A terminal, and nobody has asked for no colours (no-color.org), nor does it know none. */
bool terminal_colour(int fd);

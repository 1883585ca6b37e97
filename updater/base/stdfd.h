/* SPDX-License-Identifier: MIT */
#pragma once

/* Standard input, output and error of a program that people and scripts start, with whatever they are connected to. */

/* First thing in main(). None of the three is missing afterwards, so that no file takes its number and is written to by
 * accident; and who reads the answer may go: what was begun is finished all the same. */
void stdfd_open(void);

/* Last thing in main(): the exit code. An answer that did not arrive is a failure; a reader that has seen enough is not. */
int stdfd_finish(const char *program, int code);

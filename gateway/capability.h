/* SPDX-License-Identifier: MIT */
/*
 * What this process may do beyond others: capabilities(7), without libcap.
 */
#ifndef BTGATE_CAPABILITY_H
#define BTGATE_CAPABILITY_H

#include <stdbool.h>

/* Whether CAP_... @number is in force. */
bool capability_has(int number);

#endif

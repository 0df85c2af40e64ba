/* SPDX-License-Identifier: MIT */
/*
 * What this process may do beyond others: capabilities(7), without libcap.
 */
#ifndef BTGATE_CAPABILITY_H
#define BTGATE_CAPABILITY_H

#include <stdbool.h>

/* Whether CAP_... @number is in force. */
bool capability_has(int number);
/* Give back all of them, for good, as far as that is allowed. */
void capability_drop_all(void);

#endif

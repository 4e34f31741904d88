/* SPDX-License-Identifier: Apache-2.0 */
/* Last words of an agent that the kernel kills for a fault of its own. */
#pragma once

/*
 * From now on a SIGSEGV, SIGBUS, SIGILL or SIGFPE of this process writes one line to its
 * console, with the address of the code, before the default action: the guest's panic alone
 * says nothing.
 */
void fault_report(void);

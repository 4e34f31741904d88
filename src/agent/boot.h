/* SPDX-License-Identifier: Apache-2.0 */
/* What PID 1 of the virtual machine does before it serves, and how it ends the machine. */
#pragma once

struct err;

/* Mounts, kernel modules, sysctls, loopback. Messages go to the console until it returns. */
int boot_set_up(struct err *e);
_Noreturn void boot_power_off(void);

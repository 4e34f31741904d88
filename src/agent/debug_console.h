/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shell in the guest itself, for whoever debugs the guest; only where agent.debug_console
 * is given and the initrd has a shell (the extras).
 */
#pragma once

struct sandbox;

/* On the vsock port agent.debug_console_vport or the virtio-serial port "kata.console". */
void debug_console_start(struct sandbox *s);

/* SPDX-License-Identifier: Apache-2.0 */
/* Where the agent's log goes: a vsock port the host connects to, a virtio-serial port, stderr.
 */
#pragma once

struct sandbox;

/* Starts what the configuration asks for; until somebody listens, stderr (the console) has it.
 */
void guest_log_start(struct sandbox *s);

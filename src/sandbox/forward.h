/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's loopback. containerd forwards ports of pods (`kubectl port-forward`) by connecting to
 * localhost in the pod's network namespace, where nothing listens: the programs are in the
 * guest. Those connections are taken here and made again in the guest, byte for byte.
 */
#pragma once

struct err;
struct sandbox;

/*
 * Takes connections to the loopback of the namespace that the sandbox's links are in. A kernel
 * that cannot do that is one log line.
 */
void forward_begin(struct sandbox *s);
/* Ends all of it, and waits for that: once the agent's connection is closed. Idempotent. */
void forward_end(struct sandbox *s);

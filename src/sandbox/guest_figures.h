/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest may say about its resources: containerd decodes that for a whole node at once.
 */
#pragma once

#include "agent.pb-c.h"

/*
 * Takes out of an answer, in place, what no kernel says: names that are not what they should be
 * (not even UTF-8, which would make containerd refuse the figures of every container), and more
 * rows than a machine has devices, links or page sizes.
 */
void guest_figures_trim(Grpc__StatsContainerResponse *r);

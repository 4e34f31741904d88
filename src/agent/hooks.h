/* SPDX-License-Identifier: Apache-2.0 */
/* hooks.startContainer, as the agent sees it; what runs them is the stage (stage_steps.h). */
#pragma once

#include <stdint.h>

#include "agent.pb-c.h"

/* How long all of them may take, in milliseconds. */
int64_t hooks_start_ms(const Grpc__Spec *spec);

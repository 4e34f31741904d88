/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to the guest's own loopback that the engine asks for: proto/forward.proto. One
 * that is read and written at the same time is two descriptors of one socket.
 */
#pragma once

#include <stddef.h>

#include "wire/ttrpc.h"

extern const struct ttrpc_method forward_methods[];
extern const size_t forward_method_count;

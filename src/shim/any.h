/* SPDX-License-Identifier: Apache-2.0 */
/* What a client says that an Any holds. */
#pragma once

#include <stdbool.h>

#include "google.pb-c.h"

/*
 * Whether its type is the message of that full name, whatever host stands before it
 * (google/protobuf/any.proto: the last path segment names the type). False for NULL.
 */
bool any_is(const Google__Protobuf__Any *any, const char *name);
/* Whether it is what containerd hands to any runtime, of containerd 1.4 and older too. */
bool any_is_runtime_options(const Google__Protobuf__Any *any);

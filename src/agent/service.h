/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's ttrpc services: one row per method; what a row does is elsewhere. */
#pragma once

#include "wire/ttrpc.h"

struct sandbox;

enum {
	SERVICE_COUNT = 3
};
/* Fills in the table; `s` is the context of every call. */
void service_table(struct sandbox *s, struct ttrpc_service out[SERVICE_COUNT]);

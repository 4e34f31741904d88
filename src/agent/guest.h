/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls about the guest itself rather than its containers: details, clock, randomness, CPUs
 * and memory that were plugged in, volumes. Each is a handler of the service's table.
 */
#pragma once

struct err;
struct ttrpc_call;

int guest_details(struct ttrpc_call *call, const void *request, void *response, struct err *e);
int guest_reseed(struct ttrpc_call *call, const void *request, void *response, struct err *e);
int guest_set_time(struct ttrpc_call *call, const void *request, void *response, struct err *e);
int guest_online(struct ttrpc_call *call, const void *request, void *response, struct err *e);
int guest_volume_stats(struct ttrpc_call *call, const void *request, void *response,
		       struct err *e);
int guest_remove_stale_mounts(struct ttrpc_call *call, const void *request, void *response,
			      struct err *e);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtime specification (1.0 to 1.3) between its JSON form and the messages of
 * proto/oci.proto, which are its form in memory. Everything decoded lives in the caller's
 * arena. Absent members are: "" or NULL, an empty list, the presence fields numbered from
 * 1000, -1 for a device rule's major and minor, 0666 for a device's mode; where the messages
 * have nothing of the kind, zero.
 *
 * Errors name the member: "mounts[3].destination 'foo': must be absolute" (ERR_INVALID),
 * "windows: only Linux containers are run" (ERR_UNSUPPORTED). Members the specification does
 * not know are passed over, as it demands, and noted.
 */
#pragma once

#include <stddef.h>

#include "oci.pb-c.h"

struct arena;
struct buf;
struct err;
struct oci_notes;

/* The newest release whose members are all known. */
#define SPEC_VERSION_MAX "1.3.0"

enum {
	SPEC_MAX_BYTES = 16 << 20,    /* largest config.json that is read */
	SPEC_ARENA_BYTES = 128 << 20, /* a limit for the arena that holds any such spec */
};

/* Decode and validate. */
int spec_parse(const char *json, size_t len, struct arena *a, Grpc__Spec **out, struct err *e);
int process_parse(const char *json, size_t len, struct arena *a, struct oci_notes *notes,
		  Grpc__Process **out, struct err *e);
int resources_parse(const char *json, size_t len, struct arena *a, struct oci_notes *notes,
		    Grpc__LinuxResources **out, struct err *e);
/* The same; `notes` gets the members that were passed over. */
int spec_parse_noting(const char *json, size_t len, struct arena *a, struct oci_notes *notes,
		      Grpc__Spec **out, struct err *e);
/* <bundle>/config.json; `notes` may be NULL. */
int spec_load(const char *bundle, struct arena *a, struct oci_notes *notes, Grpc__Spec **out,
	      struct err *e);

/* The rules alone, for a spec that did not come as JSON. Needs no JSON library. */
int spec_validate(const Grpc__Spec *s, struct err *e);
int process_validate(const Grpc__Process *p, struct err *e);
int resources_validate(const Grpc__LinuxResources *r, struct err *e);

/* Append the JSON form, indented; unset members are left out. */
int spec_print(const Grpc__Spec *s, struct buf *out, struct err *e);
int process_print(const Grpc__Process *p, struct buf *out, struct err *e);
int resources_print(const Grpc__LinuxResources *r, struct buf *out, struct err *e);

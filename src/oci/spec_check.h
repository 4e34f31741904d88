/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the runtime specification that span several fields; rows of the table name them. */
#pragma once

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

struct err;
struct oci_at;

/* The exact names of capabilities ("CAP_NET_RAW") and of resource limits ("RLIMIT_AS"). */
bool oci_known_cap(const char *name);
bool oci_known_rlimit(const char *name);

int oci_check_spec(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);
int oci_check_process(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);
int oci_check_linux(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);

/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the runtime specification that span several fields; rows of the table name them. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct err;
struct oci_at;

int oci_check_spec(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);
int oci_check_process(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);
int oci_check_linux(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);

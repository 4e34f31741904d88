/* SPDX-License-Identifier: Apache-2.0 */
/* A whole spec: there and back gives the same message; the guest's edits keep it valid. */
#include "fuzz.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "oci/annotations.h"
#include "oci/guest_spec.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "wire/message.h"

static void check_guest(const Grpc__Spec *s, struct arena *a)
{
	const struct guest_spec_options options = { .compile_seccomp = true };
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct oci_identity id;
	struct guest_spec g;
	struct err e;

	(void)spec_identity(s, &id, &e);
	if (guest_spec_make(s, &options, a, &notes, &g, &e) == 0)
		FUZZ_CHECK(spec_validate(g.spec, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf text = BUF_INIT, first = BUF_INIT, second = BUF_INIT;
	OWN(oci_notes) struct oci_notes notes = { 0 };
	Grpc__Spec *s, *again;
	struct err e;

	if (spec_parse_noting((const char *)data, size, &a, &notes, &s, &e) < 0)
		return 0;
	FUZZ_CHECK(spec_print(s, &text, &e) == 0);
	FUZZ_CHECK(spec_parse((const char *)buf_head(&text), buf_len(&text), &a, &again, &e) ==
		   0);
	FUZZ_CHECK(message_encode(&s->base, &first, &e) == 0);
	FUZZ_CHECK(message_encode(&again->base, &second, &e) == 0);
	FUZZ_CHECK(buf_len(&first) == buf_len(&second));
	FUZZ_CHECK(memcmp(buf_head(&first), buf_head(&second), buf_len(&first)) == 0);
	check_guest(s, &a);
	return 0;
}

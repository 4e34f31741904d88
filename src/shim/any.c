/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/any.h"

#include <string.h>

#include "base/str.h"

bool any_is(const Google__Protobuf__Any *any, const char *name)
{
	const char *slash = any ? strrchr(any->type_url, '/') : NULL;

	return any && str_eq(slash ? slash + 1 : any->type_url, name);
}

bool any_is_runtime_options(const Google__Protobuf__Any *any)
{
	return any_is(any, "runtimeoptions.v1.Options") ||
	       any_is(any, "cri.runtimeoptions.v1.Options");
}

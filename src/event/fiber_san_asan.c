/* SPDX-License-Identifier: Apache-2.0 */
/* AddressSanitizer builds: it keeps a shadow of the present stack and must know of switches. */
#include <sanitizer/common_interface_defs.h>

#include "event/fiber_context.h"

void fiber_san_leave(void **save, const void *bottom, size_t size)
{
	__sanitizer_start_switch_fiber(save, bottom, size);
}

void fiber_san_enter(void *save, const void **bottom_old, size_t *size_old)
{
	__sanitizer_finish_switch_fiber(save, bottom_old, size_old);
}

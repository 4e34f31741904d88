/* SPDX-License-Identifier: Apache-2.0 */
/* Ordinary builds: nobody needs to be told about stack switches. */
#include "event/fiber_context.h"

void fiber_san_leave(void **save, const void *bottom, size_t size)
{
	(void)save;
	(void)bottom;
	(void)size;
}

void fiber_san_enter(void *save, const void **bottom_old, size_t *size_old)
{
	(void)save;
	(void)bottom_old;
	(void)size_old;
}

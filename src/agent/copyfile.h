/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CopyFile: files, directories and links that the engine makes below the shared directory
 * where there is no file sharing. A file comes in pieces and gets its name with the last one.
 */
#pragma once

struct err;
struct ttrpc_call;

int copyfile(struct ttrpc_call *call, const void *request, void *response, struct err *e);
/* GetDiagnosticData: a container's termination log. */
int diagnostic_data(struct ttrpc_call *call, const void *request, void *response,
		    struct err *e);

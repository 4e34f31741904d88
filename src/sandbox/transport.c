/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/transport.h"

#include "base/err.h"
#include "base/log.h"
#include "base/time.h"
#include "config/config.h"
#include "event/fiber.h"
#include "vmm/vmm.h"

#define PORT_AGENT "kata.agent"

enum {
	AGENT_VSOCK_PORT = 1024
};

int transport_choose(const struct kata_config *c, const char *hypervisor, uint64_t vmm_caps,
		     const struct log_ctx *log, struct transport *out, struct err *e)
{
	int wanted = c->hypervisor.transport;
	struct err why = ERR_INIT;

	if (wanted != CONFIG_TRANSPORT_VIRTIO_SERIAL) {
		if (!(vmm_caps & 1ULL << VMM_CAP_VSOCK))
			err_set(&why, ERR_UNSUPPORTED, 0, "%s has no %s", hypervisor,
				vmm_cap_name(VMM_CAP_VSOCK));
		else
			out->vsock = vmm_vsock_claim(NULL, &out->fd, &out->cid, &why) == 0;
	}
	if (wanted == CONFIG_TRANSPORT_VSOCK && !out->vsock)
		return err_set(e, ERR_UNSUPPORTED, 0, "transport vsock is asked for: %s",
			       why.msg);
	if (log)
		log_info(log, "agent transport: %s%s%s", out->vsock ? "vsock" : "virtio-serial",
			 *why.msg ? ", since vsock cannot be used: " : "", why.msg);
	return 0;
}

void transport_device(const struct transport *t, struct vmm_device *out)
{
	if (t->vsock) {
		*out = (struct vmm_device){ .kind = VMM_DEV_VSOCK, .id = "vsock0" };
		out->vsock.fd = t->fd;
		out->vsock.cid = t->cid;
	} else {
		*out = (struct vmm_device){ .kind = VMM_DEV_SERIAL, .id = "agent" };
		out->serial.name = PORT_AGENT;
	}
}

const char *transport_kernel_word(const struct transport *t)
{
	return t->vsock ? "agent.server_addr=vsock://-1:1024"
			: "agent.server_addr=virtio-serial://" PORT_AGENT;
}

static int no_answer(struct err *e)
{
	return err_set(e, ERR_TIMEOUT, 0, "the agent in the guest does not answer");
}

int transport_connect(const struct transport *t, struct loop *l, struct vmm *v,
		      int64_t pause_ms, int64_t deadline, const bool *lost, int *out,
		      struct err *e)
{
	if (!t->vsock)
		return vmm_serial_take(v, PORT_AGENT, out, e);
	for (;;) {
		if (vmm_vsock_connect(l, t->cid, AGENT_VSOCK_PORT, deadline, out, e) == 0)
			return 0;
		if (e->kind == ERR_TIMEOUT)
			return no_answer(e);
		if (e->kind == ERR_CANCELLED)
			return -1;
		if (*lost)
			return err_set(e, ERR_PEER, 0, "the virtual machine ended");
		if (deadline_left(deadline) == 0)
			return no_answer(e);
		if (fiber_sleep(l, pause_ms, e) < 0)
			return -1;
	}
}

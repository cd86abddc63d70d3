// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Behaves for 10,000 decisions, and then never comes back. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

static u32 decisions;

SEC("struct_ops")
int z_turncoat_get_send(u64 *arguments)
{
	if (++decisions > 10000) {
		for (;;)
			asm volatile("");
	}
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_turncoat = {
	.get_send = (void *)z_turncoat_get_send,
	.name = "z_turncoat",
};

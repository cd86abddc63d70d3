// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Works for some 90,000 instructions at every call, just below the budget, and then picks well. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_spin_get_send(u64 *arguments)
{
	for (u32 round = 0; round < 45000; round++)
		asm volatile("" : "+r"(round));
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_spin = {
	.get_send = (void *)z_spin_get_send,
	.name = "z_spin",
};

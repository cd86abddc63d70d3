// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Calls itself without end. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

static __attribute__((noinline)) u32 dive(u32 depth)
{
	volatile u32 here = depth;

	return depth ? dive(depth + 1) + here : 0;
}

SEC("struct_ops")
int z_recursion_get_send(u64 *arguments)
{
	if (dive((u32)arguments[0]))
		return -1;
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_recursion = {
	.get_send = (void *)z_recursion_get_send,
	.name = "z_recursion",
};

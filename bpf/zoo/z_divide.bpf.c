// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Divides by zero, with and without a sign of it in the code. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_divide_get_send(u64 *arguments)
{
	volatile u64 zero = 0;
	volatile u32 zero_too = 0;

	if (arguments[0] / zero + (u32)arguments[0] % zero_too == 1)
		return -1;
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_divide = {
	.get_send = (void *)z_divide_get_send,
	.name = "z_divide",
};

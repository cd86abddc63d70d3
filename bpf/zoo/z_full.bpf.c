// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Picks subflows that are full, and no others. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_full_get_send(u64 *arguments)
{
	struct mptcp_subflow_context *subflow;

	for_each_subflow(subflow, msk_of(arguments)) {
		if (!can_take(subflow))
			return schedule(subflow);
	}
	return -1;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_full = {
	.get_send = (void *)z_full_get_send,
	.name = "z_full",
};

// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_red: everything on every subflow. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int bpf_red_get_send(u64 *arguments)
{
	struct mptcp_subflow_context *subflow;
	int result = -1;

	for_each_subflow(subflow, msk_of(arguments)) {
		if (mptcp_subflow_active(subflow))
			result = schedule(subflow);
	}
	return result;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops red = {
	.get_send = (void *)bpf_red_get_send,
	.name = "bpf_red",
};

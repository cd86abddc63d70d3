// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Picks nothing while data is in flight on the first subflow. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_waits_get_send(u64 *arguments)
{
	struct sock *ssk = msk_of(arguments)->first;

	if (!ssk || ssk->tcp_rtx_queue.rb_node)
		return -1;
	return schedule(bpf_mptcp_subflow_ctx(ssk));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_waits = {
	.get_send = (void *)z_waits_get_send,
	.name = "z_waits",
};

// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_first: everything on the connection's first subflow. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int bpf_first_get_send(u64 *arguments)
{
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops first = {
	.get_send = (void *)bpf_first_get_send,
	.name = "bpf_first",
};

// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Marks something that is no subflow. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_stranger_get_send(u64 *arguments)
{
	mptcp_subflow_set_scheduled((void *)msk_of(arguments), true);
	return 0;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_stranger = {
	.get_send = (void *)z_stranger_get_send,
	.name = "z_stranger",
};

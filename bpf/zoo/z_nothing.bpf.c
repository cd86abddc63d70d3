// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Says that all is well, and picks nothing. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_nothing_get_send(u64 *arguments)
{
	return arguments ? 0 : -1;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_nothing = {
	.get_send = (void *)z_nothing_get_send,
	.name = "z_nothing",
};

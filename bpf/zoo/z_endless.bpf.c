// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* An endless loop. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_endless_get_send(u64 *arguments)
{
	(void)arguments;
	for (;;)
		asm volatile("");
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_endless = {
	.get_send = (void *)z_endless_get_send,
	.name = "z_endless",
};

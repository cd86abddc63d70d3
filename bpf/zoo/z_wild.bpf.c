// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Reads from an address that nobody gave it. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_wild_get_send(u64 *arguments)
{
	volatile u64 *wild = (void *)0xdeadbeef000ULL;

	if (*wild)
		return -1;
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_wild = {
	.get_send = (void *)z_wild_get_send,
	.name = "z_wild",
};

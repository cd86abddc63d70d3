// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Picks well, and returns garbage. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_garbage_get_send(u64 *arguments)
{
	schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
	return (int)(arguments[0] ^ arguments[0] >> 32) * 0x9e3779b1;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_garbage = {
	.get_send = (void *)z_garbage_get_send,
	.name = "z_garbage",
};

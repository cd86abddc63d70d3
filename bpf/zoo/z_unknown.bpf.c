// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Calls a kernel function that no scheduler may call. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

extern int tcp_send_fin_now(struct sock *sk) KFUNC;

SEC("struct_ops")
int z_unknown_get_send(u64 *arguments)
{
	if (tcp_send_fin_now(msk_of(arguments)->first))
		return -1;
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_unknown = {
	.get_send = (void *)z_unknown_get_send,
	.name = "z_unknown",
};

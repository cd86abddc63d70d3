// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Sets a callback that only one branch of the kernel had. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_push_get_send(u64 *arguments)
{
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC("struct_ops")
void z_push_push(u64 *arguments)
{
	(void)arguments;
}

/* The form of the structure in that branch. */
struct mptcp_sched_ops___push {
	int (*get_send)(struct mptcp_sock *msk);
	void (*push)(struct mptcp_sock *msk, struct mptcp_subflow_context *subflow, void *chunk);
	char name[16];
};

SEC(".struct_ops.link")
struct mptcp_sched_ops___push z_push = {
	.get_send = (void *)z_push_get_send,
	.push = (void *)z_push_push,
	.name = "z_push",
};

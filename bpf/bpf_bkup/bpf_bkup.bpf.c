// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_bkup: the first subflow that is no backup; a backup only where no other is left. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int bpf_bkup_get_send(u64 *arguments)
{
	struct mptcp_subflow_context *subflow, *normal = NULL, *backup = NULL;

	for_each_subflow(subflow, msk_of(arguments)) {
		if (!mptcp_subflow_active(subflow))
			continue;
		if (!is_backup(subflow)) {
			normal = subflow;
			break;
		}
		if (!backup)
			backup = subflow;
	}
	return schedule(normal ? normal : backup);
}

SEC(".struct_ops.link")
struct mptcp_sched_ops bkup = {
	.get_send = (void *)bpf_bkup_get_send,
	.name = "bpf_bkup",
};

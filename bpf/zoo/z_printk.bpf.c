// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Writes a hundred lines into the log at every call. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("struct_ops")
int z_printk_get_send(u64 *arguments)
{
	static const char format[] = "z_printk: line %d\n";

	for (u32 line = 0; line < 100; line++)
		bpf_trace_printk(format, sizeof(format), line);
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_printk = {
	.get_send = (void *)z_printk_get_send,
	.name = "z_printk",
};

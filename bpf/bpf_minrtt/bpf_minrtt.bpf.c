// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_minrtt: the subflow with the shortest round trip that can take something. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

struct candidate {
	struct mptcp_subflow_context *subflow;
	u32 srtt;
};

SEC("struct_ops")
int bpf_minrtt_get_send(u64 *arguments)
{
	struct candidate normal = { NULL, ~0U }, backup = { NULL, ~0U };
	struct mptcp_subflow_context *subflow;
	bool any_normal = false;

	for_each_subflow(subflow, msk_of(arguments)) {
		bool is_spare = is_backup(subflow);
		struct candidate *best = is_spare ? &backup : &normal;
		struct tcp_sock *tcp;
		struct sock *ssk;

		ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		if (!ssk || !mptcp_subflow_active(subflow))
			continue;
		any_normal |= !is_spare;
		tcp = bpf_skc_to_tcp_sock(ssk);
		if (tcp && tcp->srtt_us < best->srtt && bpf_sk_stream_memory_free(ssk)) {
			best->subflow = subflow;
			best->srtt = tcp->srtt_us;
		}
	}
	return schedule(any_normal ? normal.subflow : backup.subflow);
}

SEC(".struct_ops.link")
struct mptcp_sched_ops minrtt = {
	.get_send = (void *)bpf_minrtt_get_send,
	.name = "bpf_minrtt",
};

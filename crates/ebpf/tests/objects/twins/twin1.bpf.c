// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* `minrtt` in generation 1: types of its own, subflows by position, a section for each function. */
#include "../private.h"

extern bool tcp_stream_memory_free(const struct sock *sk, int wake) KFUNC;

struct candidate {
	struct mptcp_subflow_context *subflow;
	u32 srtt;
};

SEC("struct_ops/twin1_get_subflow")
int twin1_get_subflow(u64 *arguments)
{
	struct mptcp_sched_data *data = (void *)arguments[1];
	struct candidate normal = { NULL, ~0U }, spare = { NULL, ~0U };
	bool any_normal = 0;

	for (u32 at = 0; at < 8 && at < data->subflows; at++) {
		struct mptcp_subflow_context *subflow = bpf_mptcp_subflow_ctx_by_pos(data, at);
		struct candidate *best = &normal;
		struct tcp_sock *tcp;

		if (!subflow)
			break;
		if (READ_BITS(subflow, backup))
			best = &spare;
		else
			any_normal = 1;
		tcp = skc_to_tcp_sock(subflow->tcp_sock);
		if (tcp && tcp->srtt_us < best->srtt && tcp_stream_memory_free(subflow->tcp_sock, 0)) {
			best->subflow = subflow;
			best->srtt = tcp->srtt_us;
		}
	}
	if (!any_normal)
		normal = spare;
	if (!normal.subflow)
		return -1;
	mptcp_subflow_set_scheduled(normal.subflow, 1);
	return 0;
}

SEC(".struct_ops")
struct mptcp_sched_ops twin1 = {
	.name = "twin1",
	.get_subflow = (void *)twin1_get_subflow,
};

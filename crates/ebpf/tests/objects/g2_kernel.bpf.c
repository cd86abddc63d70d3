// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Generation 2: `get_subflow` with the iterator over a `struct mptcp_sock`. */
#define GET_SUBFLOW
#include "kernel.h"

SEC("struct_ops")
int g2_get_subflow(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];
	struct mptcp_sched_data *data = (void *)arguments[1];
	struct mptcp_subflow_context *subflow;
	struct bpf_iter_mptcp_subflow it;
	int found = -1;

	bpf_iter_mptcp_subflow_new(&it, msk);
	while ((subflow = bpf_iter_mptcp_subflow_next(&it))) {
		if (subflow->stale_count && !data->reinject)
			continue;
		if (READ_BITS(subflow, backup) && READ_BITS(subflow, request_bkup))
			continue;
		if (subflow->tcp_sock == msk->first || !found)
			subflow->avg_pacing_rate = subflow->tcp_sock->sk_pacing_rate;
		mptcp_subflow_set_scheduled(subflow, 1);
		found = 0;
	}
	bpf_iter_mptcp_subflow_destroy(&it);
	return found;
}

SEC(".struct_ops")
struct mptcp_sched_ops g2 = {
	.get_subflow = (void *)g2_get_subflow,
	.name = "g2_kernel",
};

// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Generation 1 with types of its own: subflows by position, a section for each function. */
#include "private.h"

SEC("struct_ops/g1_init")
void g1_init(u64 *arguments)
{
	static const char format[] = "started";

	(void)arguments;
	trace_printk(format, sizeof(format));
}

SEC("struct_ops/g1_get_subflow")
int g1_get_subflow(u64 *arguments)
{
	struct mptcp_sched_data *data = (void *)arguments[1];
	struct mptcp_subflow_context *best = NULL;
	u32 least = ~0U;

	for (u32 at = 0; at < 8 && at < data->subflows; at++) {
		struct mptcp_subflow_context *subflow = bpf_mptcp_subflow_ctx_by_pos(data, at);
		struct tcp_sock *tcp;

		if (!subflow)
			break;
		if (subflow->backup || READ_BITS(subflow, backup) || subflow->stale_count > data->reinject)
			continue;
		tcp = skc_to_tcp_sock(subflow->tcp_sock);
		if (tcp && tcp->srtt_us < least) {
			least = tcp->srtt_us;
			best = subflow;
		}
	}
	if (!best)
		return -1;
	((struct mptcp_sock *)arguments[0])->snd_burst = 1428;
	mptcp_subflow_set_scheduled(best, 1);
	return 0;
}

SEC(".struct_ops")
struct mptcp_sched_ops g1 = {
	.name = "g1_private",
	.init = (void *)g1_init,
	.get_subflow = (void *)g1_get_subflow,
};

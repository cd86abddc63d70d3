// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Generation 2b: `get_send` and `get_retrans` with data, subflows by position. */
#define GET_SEND_WITH_DATA
#include "kernel.h"

SEC("struct_ops")
int g2b_get_send(u64 *arguments)
{
	struct mptcp_sched_data *data = (void *)arguments[1];
	struct mptcp_subflow_context *subflow;

	if (!data)
		return -1;
	subflow = bpf_mptcp_subflow_ctx_by_pos(data, data->subflows - 1);
	if (!subflow)
		return -1;
	mptcp_subflow_set_scheduled(subflow, 1);
	return 0;
}

SEC("struct_ops")
int g2b_get_retrans(u64 *arguments)
{
	return g2b_get_send(arguments);
}

SEC(".struct_ops.link")
struct mptcp_sched_ops g2b = {
	.get_send = (void *)g2b_get_send,
	.get_retrans = (void *)g2b_get_retrans,
	.name = "g2b_kernel",
};

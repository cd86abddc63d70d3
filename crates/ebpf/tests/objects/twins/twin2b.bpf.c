// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* `redundant` in generation 2b: `get_send` and `get_retrans` with data, a function that both call. */
#define GET_SEND_WITH_DATA
#include "../kernel.h"

static NOINLINE int mark_all(struct mptcp_sched_data *data)
{
	int result = -1;

	for (u32 at = 0; at < data->subflows; at++) {
		struct mptcp_subflow_context *subflow = bpf_mptcp_subflow_ctx_by_pos(data, at);

		if (!subflow)
			break;
		mptcp_subflow_set_scheduled(subflow, 1);
		result = 0;
	}
	return result;
}

SEC("struct_ops")
int twin2b_get_send(u64 *arguments)
{
	return arguments[1] ? mark_all((void *)arguments[1]) : -1;
}

SEC("struct_ops")
int twin2b_get_retrans(u64 *arguments)
{
	return arguments[1] ? mark_all((void *)arguments[1]) : -1;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops twin2b = {
	.get_send = (void *)twin2b_get_send,
	.get_retrans = (void *)twin2b_get_retrans,
	.name = "twin2b",
};

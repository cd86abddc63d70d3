// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_rr: the subflows in turn. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

struct turn {
	u32 last; /* subflow_id of the subflow that had the last chunk; 0: none yet */
};

struct {
	MAP_NUMBER(type, MAP_SK_STORAGE);
	MAP_NUMBER(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, struct turn);
} turns SEC(".maps");

/* The next one in turn that can take something: behind the last one, else from the start. */
SEC("struct_ops")
int bpf_rr_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	struct mptcp_subflow_context *subflow, *first = NULL, *next = NULL;
	struct turn *turn;

	turn = bpf_sk_storage_get(&turns, msk, NULL, SK_STORAGE_CREATE);
	if (!turn)
		return -1;

	for_each_subflow(subflow, msk) {
		if (!can_take(subflow))
			continue;
		if (!first)
			first = subflow;
		if (subflow->subflow_id > turn->last) {
			next = subflow;
			break;
		}
	}
	if (!next)
		next = first;
	if (!next)
		return -1;

	turn->last = next->subflow_id;
	return schedule(next);
}

SEC("struct_ops")
void bpf_rr_release(u64 *arguments)
{
	bpf_sk_storage_delete(&turns, msk_of(arguments));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops rr = {
	.get_send = (void *)bpf_rr_get_send,
	.release = (void *)bpf_rr_release,
	.name = "bpf_rr",
};

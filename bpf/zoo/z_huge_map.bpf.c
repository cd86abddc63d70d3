// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Wants a map of 16 GB. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	MAP_NUMBER(type, MAP_HASH);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u64);
	MAP_NUMBER(max_entries, 1 << 30);
} huge SEC(".maps");

SEC("struct_ops")
int z_huge_map_get_send(u64 *arguments)
{
	u64 key = arguments[0];

	bpf_map_update_elem(&huge, &key, &key, 0);
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_huge_map = {
	.get_send = (void *)z_huge_map_get_send,
	.name = "z_huge_map",
};

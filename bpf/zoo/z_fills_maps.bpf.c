// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Puts something new into its map at every call, and takes nothing out. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	MAP_NUMBER(type, MAP_HASH);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u64);
	MAP_NUMBER(max_entries, 10000);
} grows SEC(".maps");

static u64 calls;

SEC("struct_ops")
int z_fills_maps_get_send(u64 *arguments)
{
	u64 key = ++calls;

	bpf_map_update_elem(&grows, &key, &key, 0);
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_fills_maps = {
	.get_send = (void *)z_fills_maps_get_send,
	.name = "z_fills_maps",
};

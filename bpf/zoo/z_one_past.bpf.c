// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Writes one byte behind the end of what a map gave it. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	MAP_NUMBER(type, 2); /* array */
	MAP_TYPE(key, int);
	MAP_TYPE(value, u64);
	MAP_NUMBER(max_entries, 1);
} eight_bytes SEC(".maps");

SEC("struct_ops")
int z_one_past_get_send(u64 *arguments)
{
	u8 *value;
	int key = 0;

	value = bpf_map_lookup_elem(&eight_bytes, &key);
	if (!value)
		return -1;
	for (u32 at = 0; at <= 8; at++) {
		asm volatile("" : "+r"(at));
		value[at] = 1;
	}
	return schedule(bpf_mptcp_subflow_ctx(msk_of(arguments)->first));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops z_one_past = {
	.get_send = (void *)z_one_past_get_send,
	.name = "z_one_past",
};

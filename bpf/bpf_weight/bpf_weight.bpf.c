// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_weight: subflows in turn, in proportion to weights that the user sets. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* What a subflow without a weight counts, or with 0, and the most that one may. */
#define WEIGHT_DEFAULT 1
#define WEIGHT_MAX 10000

/* Weights by local IPv4 address, in network order: a router has one for each link. */
struct {
	MAP_NUMBER(type, MAP_HASH);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
	MAP_NUMBER(max_entries, 64);
	MAP_NUMBER(pinning, MAP_PIN_BY_NAME);
} weight_of_address SEC(".maps");

/* Weights by the address id of the other end: what tells a router's links apart at the server. */
struct {
	MAP_NUMBER(type, MAP_HASH);
	MAP_TYPE(key, u8);
	MAP_TYPE(value, u32);
	MAP_NUMBER(max_entries, 64);
	MAP_NUMBER(pinning, MAP_PIN_BY_NAME);
} weight_of_id SEC(".maps");

/* How far each subflow, by its position, is behind (above 0) or ahead of its share. */
struct shares {
	int behind[SUBFLOWS_MAX];
};

struct {
	MAP_NUMBER(type, MAP_SK_STORAGE);
	MAP_NUMBER(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, struct shares);
} shares SEC(".maps");

INLINE int weight_of(struct mptcp_subflow_context *subflow)
{
	struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);
	u32 address = ssk ? ssk->__sk_common.skc_rcv_saddr : 0;
	u32 *weight = bpf_map_lookup_elem(&weight_of_address, &address);

	if (!weight) {
		u8 id = subflow->remote_id;

		weight = bpf_map_lookup_elem(&weight_of_id, &id);
	}
	if (!weight || !*weight)
		return WEIGHT_DEFAULT;
	return *weight < WEIGHT_MAX ? *weight : WEIGHT_MAX;
}

/* Whether some active subflow is no backup: then backups rest. */
INLINE bool any_normal(struct mptcp_sock *msk)
{
	struct mptcp_subflow_context *subflow;

	for_each_subflow(subflow, msk) {
		if (mptcp_subflow_active(subflow) && !is_backup(subflow))
			return true;
	}
	return false;
}

/*
 * Smooth weighted round robin: every subflow that can take something gains its weight; the one that is
 * furthest behind is chosen, and pays the sum. Over time each has its share, without bursts.
 */
SEC("struct_ops")
int bpf_weight_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	struct mptcp_subflow_context *subflow, *chosen = NULL;
	bool backups_rest = any_normal(msk);
	u32 position = 0, chosen_position = 0;
	int most = 0, sum = 0;
	struct shares *state;

	state = bpf_sk_storage_get(&shares, msk, NULL, SK_STORAGE_CREATE);
	if (!state)
		return -1;

	for_each_subflow(subflow, msk) {
		u32 here = position++;
		int weight;

		if (here >= SUBFLOWS_MAX)
			break;
		if (!can_take(subflow) || (backups_rest && is_backup(subflow)))
			continue;
		weight = weight_of(subflow);
		sum += weight;
		state->behind[here] += weight;
		if (!chosen || state->behind[here] > most) {
			chosen = subflow;
			chosen_position = here;
			most = state->behind[here];
		}
	}
	if (chosen && chosen_position < SUBFLOWS_MAX)
		state->behind[chosen_position] -= sum;
	return schedule(chosen);
}

SEC("struct_ops")
void bpf_weight_release(u64 *arguments)
{
	bpf_sk_storage_delete(&shares, msk_of(arguments));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops weight = {
	.get_send = (void *)bpf_weight_get_send,
	.release = (void *)bpf_weight_release,
	.name = "bpf_weight",
};

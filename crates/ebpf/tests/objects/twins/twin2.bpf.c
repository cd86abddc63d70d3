// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* `backup` in generation 2: `get_subflow` with the iterator over a `struct mptcp_sock`, and with storage. */
#define GET_SUBFLOW
#include "../kernel.h"

struct chosen {
	struct sock *last;
	u64 times;
};

struct {
	int(*type)[24];
	int(*map_flags)[1];
	int *key;
	struct chosen *value;
} chosen_map SEC(".maps");

SEC("struct_ops")
void twin2_init(u64 *arguments)
{
	sk_storage_get(&chosen_map, (void *)arguments[0], NULL, 1);
}

SEC("struct_ops")
int twin2_get_subflow(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];
	struct mptcp_subflow_context *subflow, *normal = NULL;
	struct bpf_iter_mptcp_subflow it;
	struct chosen *chosen;

	bpf_iter_mptcp_subflow_new(&it, msk);
	while ((subflow = bpf_iter_mptcp_subflow_next(&it))) {
		if (!READ_BITS(subflow, backup) || !READ_BITS(subflow, request_bkup)) {
			normal = subflow;
			break;
		}
	}
	bpf_iter_mptcp_subflow_destroy(&it);
	if (!normal)
		normal = bpf_mptcp_subflow_ctx(msk->first);
	chosen = sk_storage_get(&chosen_map, msk, NULL, 0);
	if (!normal || !chosen)
		return -1;
	chosen->last = normal->tcp_sock;
	chosen->times++;
	mptcp_subflow_set_scheduled(normal, 1);
	/* A mark counts, whatever is returned. */
	return -1;
}

SEC(".struct_ops")
struct mptcp_sched_ops twin2 = {
	.init = (void *)twin2_init,
	.get_subflow = (void *)twin2_get_subflow,
	.name = "twin2",
};

// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Generation 3, with everything that an object may have: maps, data, functions, weak kernel functions. */
#include "kernel.h"

#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) type *name

struct {
	NUMBER(type, 1);
	NUMBER(key_size, 4);
	NUMBER(value_size, 8);
	NUMBER(max_entries, 16);
	NUMBER(pinning, 1);
} first_map SEC(".maps");

struct {
	NUMBER(type, 24);
	NUMBER(map_flags, 1);
	TYPE(key, int);
	TYPE(value, struct list_head);
} second_map SEC(".maps");

struct {
	NUMBER(type, 9);
	TYPE(key, struct list_head);
	TYPE(value, u64);
	NUMBER(max_entries, 32);
} third_map SEC(".maps");

u64 calls; /* .bss */
u32 limit = 7; /* .data */
u32 limits[3] = { 1, 2, 3 };
const volatile u32 setting = 9; /* .rodata */

extern int bpf_of_another_kernel(struct sock *sk) WEAK KFUNC;

static NOINLINE u64 count(u64 by)
{
	calls += by;
	return calls + limit + limits[2] + setting;
}

/* Global: called through a relocation too. */
NOINLINE int weigh(u32 address)
{
	u64 *found = map_lookup_elem(&first_map, &address);

	return found ? *found : 0;
}

SEC("struct_ops")
int g3_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];
	struct subflow_send_info best = { NULL, ~0ULL };
	struct mptcp_subflow_context *subflow;
	struct bpf_iter_mptcp_subflow it;
	struct list_head *kept;

	if (&bpf_of_another_kernel && bpf_of_another_kernel(msk->first))
		return -1;
	kept = sk_storage_get(&second_map, msk, NULL, 1);
	if (!kept || !map_lookup_elem(&third_map, kept))
		count(1);
	bpf_iter_mptcp_subflow_new(&it, (struct sock *)msk);
	while ((subflow = bpf_iter_mptcp_subflow_next(&it))) {
		struct sock *ssk = bpf_rdonly_cast(bpf_mptcp_subflow_tcp_sock(subflow), TARGET_TYPE_ID(struct sock));
		u64 linger = (u64)ssk->sk_wmem_queued << 32;

		if (subflow->backup || subflow->stale || !mptcp_subflow_active(subflow))
			continue;
		linger += weigh(ssk->__sk_common.skc_rcv_saddr) + ssk->__sk_common.skc_dport;
		if (linger < best.linger_time) {
			best.ssk = ssk;
			best.linger_time = linger;
		}
	}
	bpf_iter_mptcp_subflow_destroy(&it);
	if (!best.ssk)
		return -1;
	msk->snd_burst = msk->snd_nxt + msk->sk.icsk_inet.tos;
	mptcp_subflow_set_scheduled(bpf_mptcp_subflow_ctx(best.ssk), 1);
	return 0;
}

SEC("struct_ops.s")
int g3_get_retrans(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];

	mptcp_pm_subflow_chk_stale(msk, msk->first);
	if (!msk->first->tcp_rtx_queue.rb_node)
		count(2);
	return -22;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops g3 = {
	.get_send = (void *)g3_get_send,
	.get_retrans = (void *)g3_get_retrans,
	.name = "g3_kernel",
};

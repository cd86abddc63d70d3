// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_burst: the kernel's default, as a program: the subflow whose queue drains soonest. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* Most bytes of one burst: 64 kB less the headers that a segment may carry. */
#define BURST_MAX (65536 - 20 - 40 - 40 - 8)

#define NO_LINGER (~0ULL)

struct candidate {
	struct mptcp_subflow_context *subflow;
	u64 linger; /* until what is queued has left, in units of 2^-32 s */
};

/* The average pace of a subflow; one that has none yet starts with its socket's. */
INLINE u32 pace_of(struct mptcp_subflow_context *subflow, struct sock *ssk)
{
	u32 pace = subflow->avg_pacing_rate;

	if (!pace) {
		subflow->avg_pacing_rate = ssk->sk_pacing_rate;
		pace = subflow->avg_pacing_rate;
	}
	return pace;
}

/* How much the burst may be, and the average pace that it leads to. */
INLINE void start_burst(struct mptcp_sock *msk, struct mptcp_subflow_context *subflow, struct sock *ssk)
{
	u64 window = mptcp_wnd_end(msk) - msk->snd_nxt;
	u32 burst = window < BURST_MAX ? window : BURST_MAX;
	u32 queued = ssk->sk_wmem_queued;

	if (!burst)
		return;
	subflow->avg_pacing_rate =
		(subflow->avg_pacing_rate * (u64)queued + ssk->sk_pacing_rate * (u64)burst) / (burst + queued);
	msk->snd_burst = burst;
}

SEC("struct_ops")
int bpf_burst_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	struct candidate normal = { NULL, NO_LINGER }, backup = { NULL, NO_LINGER };
	struct mptcp_subflow_context *subflow;
	struct sock *ssk;
	bool any_normal = false;

	for_each_subflow(subflow, msk) {
		bool is_spare = is_backup(subflow);
		struct candidate *best = is_spare ? &backup : &normal;
		u64 linger;
		u32 pace;

		ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		if (!ssk || !mptcp_subflow_active(subflow))
			continue;
		any_normal |= !is_spare;
		pace = pace_of(subflow, ssk);
		if (!pace)
			continue;
		linger = ((u64)ssk->sk_wmem_queued << 32) / pace;
		if (linger < best->linger) {
			best->subflow = subflow;
			best->linger = linger;
		}
	}
	mptcp_set_timeout((struct sock *)msk);

	subflow = any_normal ? normal.subflow : backup.subflow;
	if (!subflow)
		return -1;
	ssk = bpf_mptcp_subflow_tcp_sock(subflow);
	if (!ssk || !bpf_sk_stream_memory_free(ssk))
		return -1;
	start_burst(msk, subflow, ssk);
	return schedule(subflow);
}

/* Whether all that was written to the subflow is acknowledged. */
INLINE bool is_idle(struct sock *ssk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(ssk);

	return !ssk->tcp_rtx_queue.rb_node && (!tcp || tcp->write_seq == tcp->snd_nxt);
}

SEC("struct_ops")
int bpf_burst_get_retrans(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	struct mptcp_subflow_context *subflow, *normal = NULL, *backup = NULL;
	u32 least_stale = ~0U;

	for_each_subflow(subflow, msk) {
		struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);

		if (!ssk || !mptcp_subflow_active(subflow))
			continue;
		if (!is_idle(ssk)) {
			if (subflow->stale_count < least_stale)
				least_stale = subflow->stale_count;
		} else if (is_backup(subflow)) {
			if (!backup)
				backup = subflow;
		} else if (!normal) {
			normal = subflow;
		}
	}
	if (!normal && least_stale > 1)
		normal = backup;
	return schedule(normal);
}

SEC(".struct_ops.link")
struct mptcp_sched_ops burst = {
	.get_send = (void *)bpf_burst_get_send,
	.get_retrans = (void *)bpf_burst_get_retrans,
	.name = "bpf_burst",
};

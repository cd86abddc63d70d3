// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* `burst` in generation 3: a kernel's structure on the stack, casts, a callback that may sleep. */
#include "../kernel.h"

#define BURST_MAX (65536 - 20 - 40 - 40 - 8)

extern u64 mptcp_wnd_end(const struct mptcp_sock *msk) KFUNC;
extern void mptcp_set_timeout(struct sock *sk) KFUNC;
extern bool bpf_sk_stream_memory_free(const struct sock *sk) KFUNC;
extern bool bpf_mptcp_subflow_queues_empty(struct sock *sk) KFUNC;

static struct sock *cast(struct sock *sk)
{
	return bpf_rdonly_cast(sk, TARGET_TYPE_ID(struct sock));
}

static void start_burst(struct mptcp_sock *msk, struct mptcp_subflow_context *subflow, struct sock *ssk)
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
int twin3_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];
	struct subflow_send_info best[2] = { { NULL, ~0ULL }, { NULL, ~0ULL } };
	struct mptcp_subflow_context *subflow;
	struct bpf_iter_mptcp_subflow it;
	bool any_normal = 0;
	struct sock *ssk;

	bpf_iter_mptcp_subflow_new(&it, (struct sock *)msk);
	while ((subflow = bpf_iter_mptcp_subflow_next(&it))) {
		bool spare = subflow->backup || subflow->request_bkup;
		u64 linger;
		u32 pace;

		ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		if (!ssk || !mptcp_subflow_active(subflow))
			continue;
		ssk = cast(ssk);
		any_normal |= !spare;
		pace = subflow->avg_pacing_rate;
		if (!pace) {
			subflow->avg_pacing_rate = ssk->sk_pacing_rate;
			pace = subflow->avg_pacing_rate;
		}
		if (!pace)
			continue;
		linger = ((u64)ssk->sk_wmem_queued << 32) / pace;
		if (linger < best[spare].linger_time) {
			best[spare].ssk = ssk;
			best[spare].linger_time = linger;
		}
	}
	bpf_iter_mptcp_subflow_destroy(&it);
	mptcp_set_timeout((struct sock *)msk);

	ssk = best[!any_normal].ssk;
	if (!ssk || !bpf_sk_stream_memory_free(ssk))
		return -1;
	subflow = bpf_mptcp_subflow_ctx(ssk);
	if (!subflow)
		return -1;
	start_burst(msk, subflow, ssk);
	mptcp_subflow_set_scheduled(subflow, 1);
	return 0;
}

SEC("struct_ops.s")
int twin3_get_retrans(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];
	struct mptcp_subflow_context *subflow;
	struct bpf_iter_mptcp_subflow it;
	struct sock *normal = NULL, *spare = NULL;
	bool any_busy = 0;

	bpf_iter_mptcp_subflow_new(&it, (struct sock *)msk);
	while ((subflow = bpf_iter_mptcp_subflow_next(&it))) {
		struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		struct tcp_sock *tcp;

		if (!ssk || !mptcp_subflow_active(subflow))
			continue;
		tcp = skc_to_tcp_sock(ssk);
		if (!bpf_mptcp_subflow_queues_empty(ssk) || (tcp && tcp->write_seq != tcp->snd_nxt))
			any_busy = 1;
		else if (subflow->backup || subflow->request_bkup)
			spare = spare ?: ssk;
		else
			normal = normal ?: ssk;
	}
	bpf_iter_mptcp_subflow_destroy(&it);
	if (!normal && !any_busy)
		normal = spare;
	subflow = bpf_mptcp_subflow_ctx(normal);
	if (!subflow)
		return -22;
	mptcp_subflow_set_scheduled(subflow, 1);
	return 0;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops twin3 = {
	.get_send = (void *)twin3_get_send,
	.get_retrans = (void *)twin3_get_retrans,
	.name = "twin3",
};

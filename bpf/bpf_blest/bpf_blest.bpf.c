// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_blest: a slower subflow only where it will not block the window (Ferlin et al., 2016). */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* `lambda` in thousandths: where it begins, its bounds, and its steps. */
#define LAMBDA 1200
#define LAMBDA_MIN 1000
#define LAMBDA_MAX 1300
#define LAMBDA_BAD 40
#define LAMBDA_GOOD 10

struct estimate {
	u64 moved; /* when `lambda` was last moved, in nanoseconds */
	u32 lambda; /* 0 before the first decision */
	u32 blocked; /* whether the window has been in the way since */
};

struct {
	MAP_NUMBER(type, MAP_SK_STORAGE);
	MAP_NUMBER(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, struct estimate);
} estimates SEC(".maps");

struct candidate {
	struct mptcp_subflow_context *subflow;
	u32 micros;
	bool has_room;
};

/* What is looked for: the quickest of all, and of those with room; what is on its way on all. */
struct search {
	struct candidate quickest, ready;
	bool backups_rest;
	u64 on_its_way;
};

/* About how many bytes its congestion control lets be on their way. */
INLINE u64 window_of(struct sock *ssk, struct tcp_sock *tcp)
{
	u32 queued = tcp->write_seq - tcp->snd_nxt;
	u64 in_flight = (u64)ssk->sk_wmem_queued - queued;
	u64 in_a_trip = ssk->sk_pacing_rate * (u64)(tcp->srtt_us >> 3) / 1000000;
	u64 window = in_flight > in_a_trip ? in_flight : in_a_trip;

	if (window < tcp->mss_cache)
		window = tcp->mss_cache;
	return window ? window : 1;
}

INLINE bool any_normal(struct mptcp_sock *msk)
{
	struct mptcp_subflow_context *subflow;

	for_each_subflow(subflow, msk) {
		if (mptcp_subflow_active(subflow) && !is_backup(subflow))
			return true;
	}
	return false;
}

INLINE void consider(struct candidate *best, struct mptcp_subflow_context *subflow, u32 micros, bool has_room)
{
	if (!best->subflow || micros < best->micros) {
		best->subflow = subflow;
		best->micros = micros;
		best->has_room = has_room;
	}
}

INLINE void look(struct search *found, struct mptcp_sock *msk)
{
	struct mptcp_subflow_context *subflow;

	found->backups_rest = any_normal(msk);
	for_each_subflow(subflow, msk) {
		struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		struct tcp_sock *tcp;
		bool has_room;
		u32 micros;

		if (!ssk || !mptcp_subflow_active(subflow))
			continue;
		found->on_its_way += ssk->sk_wmem_queued;
		tcp = bpf_skc_to_tcp_sock(ssk);
		if (!tcp || (found->backups_rest && is_backup(subflow)))
			continue;
		has_room = bpf_sk_stream_memory_free(ssk);
		micros = tcp->srtt_us >> 3;
		consider(&found->quickest, subflow, micros, has_room);
		if (has_room)
			consider(&found->ready, subflow, micros, true);
	}
}

/* Once a round trip of the quickest subflow; a window without space for a segment was in the way. */
INLINE void follow(struct estimate *state, u64 window_free, u32 micros, u32 mss)
{
	u64 now = bpf_ktime_get_ns();
	u64 trip = (u64)micros * 1000;

	if (!state->lambda)
		state->lambda = LAMBDA;
	if (window_free < mss)
		state->blocked = 1;
	if (now < state->moved + trip)
		return;
	state->moved = now;
	if (state->blocked) {
		state->lambda += LAMBDA_BAD;
		if (state->lambda > LAMBDA_MAX)
			state->lambda = LAMBDA_MAX;
	} else {
		state->lambda -= LAMBDA_GOOD;
		if (state->lambda < LAMBDA_MIN)
			state->lambda = LAMBDA_MIN;
	}
	state->blocked = 0;
}

/* Whether the window has space for all that `quick` sends within a round trip of `slow`. */
INLINE bool has_space(struct search *found, struct estimate *state, u64 window_free, struct sock *quick_sk,
		      struct tcp_sock *quick)
{
	struct sock *slow_sk = bpf_mptcp_subflow_tcp_sock(found->ready.subflow);
	struct tcp_sock *slow = slow_sk ? bpf_skc_to_tcp_sock(slow_sk) : NULL;
	u64 trips = found->ready.micros / (found->quickest.micros ? found->quickest.micros : 1);
	u64 growth = trips ? (u64)quick->mss_cache * (trips - 1) / 2 : 0;
	u64 meanwhile = (window_of(quick_sk, quick) + growth) * trips;
	u64 space = window_free + found->on_its_way;
	u64 on_slow;

	if (!slow)
		return false;
	on_slow = (u64)slow_sk->sk_wmem_queued + slow->mss_cache;
	space = space > on_slow ? space - on_slow : 0;
	return meanwhile * state->lambda / 1000 <= space;
}

SEC("struct_ops")
int bpf_blest_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	u64 window_free = mptcp_wnd_end(msk) - msk->snd_nxt;
	struct search found = {};
	struct estimate *state;
	struct tcp_sock *quick;
	struct sock *quick_sk;

	look(&found, msk);
	state = bpf_sk_storage_get(&estimates, msk, NULL, SK_STORAGE_CREATE);
	if (!found.quickest.subflow || !state)
		return -1;
	quick_sk = bpf_mptcp_subflow_tcp_sock(found.quickest.subflow);
	quick = quick_sk ? bpf_skc_to_tcp_sock(quick_sk) : NULL;
	if (!quick)
		return -1;
	follow(state, window_free, found.quickest.micros, quick->mss_cache);
	if (found.quickest.has_room)
		return schedule(found.quickest.subflow);
	if (!found.ready.subflow || !has_space(&found, state, window_free, quick_sk, quick))
		return -1;
	return schedule(found.ready.subflow);
}

/* What was lost holds up all that follows. */
SEC("struct_ops")
int bpf_blest_get_retrans(u64 *arguments)
{
	struct search found = {};

	look(&found, msk_of(arguments));
	return schedule(found.ready.subflow);
}

SEC("struct_ops")
void bpf_blest_release(u64 *arguments)
{
	bpf_sk_storage_delete(&estimates, msk_of(arguments));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops blest = {
	.get_send = (void *)bpf_blest_get_send,
	.get_retrans = (void *)bpf_blest_get_retrans,
	.release = (void *)bpf_blest_release,
	.name = "bpf_blest",
};

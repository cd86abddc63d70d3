// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* bpf_early: the quickest subflow, passed over before its queue overflows (Floyd and Jacobson, 1993). */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* Thresholds of the average queue, in microseconds. */
#define LOWER 10000
#define UPPER (3 * LOWER)
/* One decision moves the average by 2^-9. */
#define WEIGHT 9
/* Probabilities are parts of 65,536: that at the upper threshold is 1/50. */
#define CERTAIN 65536
#define MOST (CERTAIN / 50)
/* After so many nanoseconds without a subflow the quickest that has room is taken. */
#define PATIENCE 100000000ULL
/* Subflows that are remembered, by the number of their address. */
#define LINKS 32
/* Where the random numbers of a connection begin. */
#define SEED 0x9e3779b9

struct link {
	u64 average; /* the average queue in microseconds, times 2^WEIGHT */
	u64 until; /* it is passed over until then, in nanoseconds, unless its queue is short before */
	u32 least; /* the least round trip, in microseconds; 0 before the first */
	u32 since; /* decisions since it was passed over */
};

struct memory {
	struct link links[LINKS];
	u64 waits_since; /* since when there was no subflow, in nanoseconds; 0 if there was one */
	u32 random; /* 0 before the first decision */
};

struct {
	MAP_NUMBER(type, MAP_SK_STORAGE);
	MAP_NUMBER(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, struct memory);
} memories SEC(".maps");

struct candidate {
	struct mptcp_subflow_context *subflow;
	u32 micros;
};

INLINE bool any_normal(struct mptcp_sock *msk)
{
	struct mptcp_subflow_context *subflow;

	for_each_subflow(subflow, msk) {
		if (mptcp_subflow_active(subflow) && !is_backup(subflow))
			return true;
	}
	return false;
}

INLINE void consider(struct candidate *best, struct mptcp_subflow_context *subflow, u32 micros)
{
	if (!best->subflow || micros < best->micros) {
		best->subflow = subflow;
		best->micros = micros;
	}
}

/* Marsaglia's "Xorshift RNGs" (2003). */
INLINE u32 xorshift(u32 number)
{
	number ^= number << 13;
	number ^= number >> 17;
	return number ^ number << 5;
}

/* How likely it is passed over: the longer it was not, the more, so that this is evenly spread. */
INLINE u64 share_of(struct link *link)
{
	u64 average = link->average >> WEIGHT;
	u64 base, spread;

	if (average < LOWER)
		return 0;
	if (average >= UPPER)
		return CERTAIN;
	base = MOST * (average - LOWER) / (UPPER - LOWER);
	spread = link->since * base;
	if (spread >= CERTAIN)
		return CERTAIN;
	return base * CERTAIN / (CERTAIN - spread);
}

/*
 * How long the queue is, in microseconds: as the round trip tells, which sees it late, or what is in flight and would
 * take longer than the least one. What is left of it is what the latter tells: when that is gone, the queue is.
 */
INLINE u32 queue_of(struct link *link, struct sock *ssk, struct tcp_sock *tcp, u32 *left)
{
	u32 queued = tcp->write_seq - tcp->snd_nxt;
	u32 held = ssk->sk_wmem_queued;
	u64 in_flight = held > queued ? held - queued : 0;
	u64 rate = ssk->sk_pacing_rate;
	u64 takes = in_flight * 1000000 / (rate ? rate : 1);
	u32 trip = tcp->srtt_us >> 3;

	if (!link->least || trip < link->least)
		link->least = trip;
	if (takes > ~0U)
		takes = ~0U;
	*left = takes > link->least ? takes - link->least : 0;
	if (takes > trip)
		trip = takes;
	return trip - link->least;
}

/* Whether the subflow is passed over this time. */
INLINE bool passes_over(struct memory *memory, struct mptcp_subflow_context *subflow, struct sock *ssk,
			struct tcp_sock *tcp, u64 now)
{
	struct link *link = &memory->links[subflow->remote_id % LINKS];
	u32 left, queue = queue_of(link, ssk, tcp, &left);
	bool idle, passes;

	link->average = link->average - (link->average >> WEIGHT) + queue;
	idle = !ssk->tcp_rtx_queue.rb_node && tcp->write_seq == tcp->snd_nxt;
	if (idle || queue <= LOWER || left <= LOWER) {
		link->since = 0;
		link->until = 0;
		return false;
	}
	if (now < link->until)
		return true;
	memory->random = xorshift(memory->random);
	passes = (memory->random & 0xffff) < share_of(link);
	link->since = passes ? 0 : link->since + (link->since < ~0U);
	if (passes)
		link->until = now + (u64)(tcp->srtt_us >> 3) * 1000;
	return passes;
}

SEC("struct_ops")
int bpf_early_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	struct candidate chosen = {}, any = {};
	struct mptcp_subflow_context *subflow;
	bool backups_rest = any_normal(msk);
	u64 now = bpf_ktime_get_ns();
	struct memory *memory;

	memory = bpf_sk_storage_get(&memories, msk, NULL, SK_STORAGE_CREATE);
	if (!memory)
		return -1;
	if (!memory->random)
		memory->random = SEED;

	for_each_subflow(subflow, msk) {
		struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		struct tcp_sock *tcp;
		bool passes;

		if (!ssk || !mptcp_subflow_active(subflow) || (backups_rest && is_backup(subflow)))
			continue;
		tcp = bpf_skc_to_tcp_sock(ssk);
		if (!tcp)
			continue;
		passes = passes_over(memory, subflow, ssk, tcp, now);
		if (!bpf_sk_stream_memory_free(ssk))
			continue;
		consider(&any, subflow, tcp->srtt_us >> 3);
		if (!passes)
			consider(&chosen, subflow, tcp->srtt_us >> 3);
	}

	if (!chosen.subflow && memory->waits_since && now >= memory->waits_since + PATIENCE)
		chosen = any;
	if (chosen.subflow)
		memory->waits_since = 0;
	else if (any.subflow && !memory->waits_since)
		memory->waits_since = now;
	return schedule(chosen.subflow);
}

/* What was lost holds up all that follows: the quickest subflow with room has it. */
SEC("struct_ops")
int bpf_early_get_retrans(u64 *arguments)
{
	struct mptcp_sock *msk = msk_of(arguments);
	struct mptcp_subflow_context *subflow;
	bool backups_rest = any_normal(msk);
	struct candidate best = {};

	for_each_subflow(subflow, msk) {
		struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);
		struct tcp_sock *tcp = ssk ? bpf_skc_to_tcp_sock(ssk) : NULL;

		if (tcp && can_take(subflow) && !(backups_rest && is_backup(subflow)))
			consider(&best, subflow, tcp->srtt_us >> 3);
	}
	return schedule(best.subflow);
}

SEC("struct_ops")
void bpf_early_release(u64 *arguments)
{
	bpf_sk_storage_delete(&memories, msk_of(arguments));
}

SEC(".struct_ops.link")
struct mptcp_sched_ops early = {
	.get_send = (void *)bpf_early_get_send,
	.get_retrans = (void *)bpf_early_get_retrans,
	.release = (void *)bpf_early_release,
	.name = "bpf_early",
};

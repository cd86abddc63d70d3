/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Kernel types as schedulers declared them privately in 2023 to 2025: few members, at any place, one of
 * them wrong (`backup` as the first bit), and operations without what the author did not need.
 */
#pragma once
#include "common.h"

struct sock_common {
	u8 skc_state;
} INDEXED;

struct sock {
	struct sock_common __sk_common;
	int sk_wmem_queued;
	unsigned long sk_pacing_rate;
} INDEXED;

struct tcp_sock {
	struct sock sk;
	u32 srtt_us;
} INDEXED;

struct mptcp_subflow_context {
	unsigned long avg_pacing_rate;
	u32 backup : 1;
	u8 stale_count;
	struct sock *tcp_sock;
} INDEXED;

struct mptcp_sock {
	struct sock *first;
	int snd_burst;
} INDEXED;

struct mptcp_sched_data {
	bool reinject;
	u8 subflows;
} INDEXED;

struct mptcp_sched_ops {
	char name[16];
	void (*init)(struct mptcp_sock *msk);
	void (*release)(struct mptcp_sock *msk);
	int (*get_subflow)(struct mptcp_sock *msk, struct mptcp_sched_data *data);
	void *owner;
};

extern struct mptcp_subflow_context *bpf_mptcp_subflow_ctx_by_pos(const struct mptcp_sched_data *data,
								  u32 position) KFUNC;
extern void mptcp_subflow_set_scheduled(struct mptcp_subflow_context *subflow, bool scheduled) KFUNC;

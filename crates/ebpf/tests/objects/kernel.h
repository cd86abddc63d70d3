/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Kernel types as a header made from a kernel's own BTF has them: whole structures, members within
 * anonymous structures and unions, operations in full, and many types that are only in the way.
 */
#pragma once
#include "common.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

/* In the way: each holds the one before it. */
struct filler_00 {
	void *start;
};

#define FILLER(n, before)                                                                                  \
	struct filler_##n {                                                                                \
		struct list_head node_##n;                                                                 \
		struct filler_##before before_##n;                                                        \
		enum { NONE_##n, SOME_##n, ALL_##n } how_##n;                                              \
		void (*callback_##n)(struct filler_##n *, int);                                            \
		union {                                                                                    \
			u64 word_##n;                                                                      \
			u8 bytes_##n[8];                                                                   \
		};                                                                                         \
	};
FILLER(01, 00)
FILLER(02, 01)
FILLER(03, 02)
FILLER(04, 03)
FILLER(05, 04)
FILLER(06, 05)
FILLER(07, 06)
FILLER(08, 07)
FILLER(09, 08)
FILLER(10, 09)
FILLER(11, 10)

struct sock_common {
	union {
		u64 skc_addrpair;
		struct {
			u32 skc_daddr;
			u32 skc_rcv_saddr;
		};
	};
	union {
		u32 skc_hash;
		u16 skc_u16hashes[2];
	};
	union {
		u32 skc_portpair;
		struct {
			u16 skc_dport;
			u16 skc_num;
		};
	};
	u16 skc_family;
	volatile u8 skc_state;
};

struct rb_node;

struct rb_root {
	struct rb_node *rb_node;
};

struct sock {
	struct sock_common __sk_common;
	struct filler_11 sk_filler;
	int sk_rcvbuf;
	int sk_sndbuf;
	int sk_wmem_queued;
	union {
		void *sk_send_head;
		struct rb_root tcp_rtx_queue;
	};
	unsigned long sk_pacing_rate;
};

struct inet_sock {
	struct sock sk;
	u8 min_ttl;
	u8 tos;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct filler_08 *icsk_filler;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 snd_una;
	u32 snd_nxt;
	u32 write_seq;
	u32 srtt_us;
};

struct mptcp_subflow_context {
	struct list_head node;
	union {
		struct {
			unsigned long avg_pacing_rate;
			u64 local_key;
			u32 request_mptcp : 1;
			u32 request_join : 1;
			u32 request_bkup : 1;
			u32 mp_capable : 1;
			u32 mp_join : 1;
			u32 pm_notified : 1;
			u32 conn_finished : 1;
			u32 map_valid : 1;
			u32 map_csum_reqd : 1;
			u32 map_data_fin : 1;
			u32 mpc_map : 1;
			u32 backup : 1;
			u32 send_mp_prio : 1;
			u32 send_mp_fail : 1;
			u32 send_fastclose : 1;
			u32 send_infinite_map : 1;
			u32 remote_key_valid : 1;
			u32 disposable : 1;
			u32 closing : 1;
			u32 stale : 1;
			/* Fills the word: else clang reads it in pieces, with masks for those. */
			u32 __unused : 12;
			bool data_avail;
			bool scheduled;
			short local_id;
			u8 remote_id;
			u8 stale_count;
			u32 subflow_id;
		};
		u8 reset[64];
	};
	struct sock *tcp_sock;
};

struct mptcp_pm_data {
	struct filler_05 *pm_filler;
	u8 add_addr_signaled;
	u8 subflows;
};

struct mptcp_sock {
	struct inet_connection_sock sk;
	u64 local_key;
	u64 snd_nxt;
	int snd_burst;
	struct list_head conn_list;
	struct mptcp_pm_data pm;
	struct sock *first;
};

struct mptcp_sched_data {
	bool reinject;
	u8 subflows;
	struct mptcp_subflow_context *contexts[8];
};

struct subflow_send_info {
	struct sock *ssk;
	u64 linger_time;
};

struct bpf_iter_mptcp_subflow {
	u64 __opaque[2];
} __attribute__((aligned(8)));

#pragma clang attribute pop

struct mptcp_sched_ops {
#ifdef GET_SUBFLOW
	int (*get_subflow)(struct mptcp_sock *msk, struct mptcp_sched_data *data);
#elif defined(GET_SEND_WITH_DATA)
	int (*get_send)(struct mptcp_sock *msk, struct mptcp_sched_data *data);
	int (*get_retrans)(struct mptcp_sock *msk, struct mptcp_sched_data *data);
#else
	int (*get_send)(struct mptcp_sock *msk);
	int (*get_retrans)(struct mptcp_sock *msk);
#endif
	char name[16];
	void *owner;
	struct list_head list;
	void (*init)(struct mptcp_sock *msk);
	void (*release)(struct mptcp_sock *msk);
} __attribute__((aligned(64)));

#ifdef GET_SUBFLOW
#define ITERATED struct mptcp_sock
#else
#define ITERATED struct sock
#endif
extern int bpf_iter_mptcp_subflow_new(struct bpf_iter_mptcp_subflow *it, ITERATED *sk) WEAK KFUNC;
extern struct mptcp_subflow_context *bpf_iter_mptcp_subflow_next(struct bpf_iter_mptcp_subflow *it) WEAK KFUNC;
extern void bpf_iter_mptcp_subflow_destroy(struct bpf_iter_mptcp_subflow *it) WEAK KFUNC;
extern struct mptcp_subflow_context *bpf_mptcp_subflow_ctx_by_pos(const struct mptcp_sched_data *data,
								  u32 position) KFUNC;
extern struct mptcp_subflow_context *bpf_mptcp_subflow_ctx(const struct sock *sk) KFUNC;
extern struct sock *bpf_mptcp_subflow_tcp_sock(const struct mptcp_subflow_context *subflow) KFUNC;
extern void mptcp_subflow_set_scheduled(struct mptcp_subflow_context *subflow, bool scheduled) KFUNC;
extern bool mptcp_subflow_active(struct mptcp_subflow_context *subflow) KFUNC;
extern void mptcp_pm_subflow_chk_stale(const struct mptcp_sock *msk, struct sock *ssk) KFUNC;
extern void *bpf_rdonly_cast(const void *pointer, u32 btf_id) WEAK KFUNC;

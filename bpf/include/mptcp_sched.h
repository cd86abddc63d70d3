/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a packet scheduler for `struct mptcp_sched_ops` needs to know of the kernel.
 *
 * Only the members that schedulers here use are declared. Their places do not matter: clang records each
 * access by name (CO-RE), and whoever loads the object, Linux or Guywire, puts in the real offset. Bit
 * fields are the exception: their masks stay as compiled, so the flags of a subflow stand here bit by bit
 * as they do in the kernel (net/mptcp/protocol.h).
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms")))
#define INLINE static inline __attribute__((always_inline))

/* Most subflows of a connection (MPTCP_SUBFLOWS_MAX). */
#define SUBFLOWS_MAX 8

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	u32 skc_rcv_saddr; /* local address, in network order */
};

struct rb_node;

struct rb_root {
	struct rb_node *rb_node;
};

struct sock {
	struct sock_common __sk_common;
	int sk_wmem_queued;
	int sk_sndbuf;
	unsigned long sk_pacing_rate;
	struct rb_root tcp_rtx_queue;
};

struct tcp_sock {
	u32 write_seq;
	u32 snd_nxt;
	u32 srtt_us; /* smoothed round trip, in eighths of a microsecond */
	u32 mss_cache; /* bytes of a segment */
};

struct mptcp_subflow_context {
	unsigned long avg_pacing_rate; /* a scheduler may write it */
	u32 request_mptcp : 1,
	    request_join : 1,
	    request_bkup : 1, /* we asked for backup */
	    flags_3_to_10 : 8,
	    backup : 1, /* the peer asked for backup */
	    flags_12_to_18 : 7,
	    stale : 1,
	    flags_20_to_31 : 12;
	u8 remote_id;
	u8 stale_count;
	u32 subflow_id;
};

struct mptcp_sock {
	struct sock *first;
	u64 snd_nxt;
	int snd_burst; /* bytes until the scheduler is asked again; a scheduler may write it */
};

#pragma clang attribute pop

/* Matched member by member, by name; the rest of the kernel's structure stays zero. */
struct mptcp_sched_ops {
	int (*get_send)(struct mptcp_sock *msk);
	int (*get_retrans)(struct mptcp_sock *msk);
	char name[16];
	void (*init)(struct mptcp_sock *msk);
	void (*release)(struct mptcp_sock *msk);
};

/* An iterator on the stack; only the functions below look into it. */
struct bpf_iter_mptcp_subflow {
	u64 opaque[2];
} __attribute__((aligned(8)));

/* Kernel functions. */
extern void mptcp_subflow_set_scheduled(struct mptcp_subflow_context *subflow, bool scheduled) KFUNC;
extern bool mptcp_subflow_active(struct mptcp_subflow_context *subflow) KFUNC;
extern void mptcp_set_timeout(struct sock *sk) KFUNC;
extern u64 mptcp_wnd_end(const struct mptcp_sock *msk) KFUNC;
extern bool bpf_sk_stream_memory_free(const struct sock *sk) KFUNC;
extern struct mptcp_subflow_context *bpf_mptcp_subflow_ctx(const struct sock *sk) KFUNC;
extern struct sock *bpf_mptcp_subflow_tcp_sock(const struct mptcp_subflow_context *subflow) KFUNC;
extern int bpf_iter_mptcp_subflow_new(struct bpf_iter_mptcp_subflow *it, struct sock *sk) KFUNC;
extern struct mptcp_subflow_context *bpf_iter_mptcp_subflow_next(struct bpf_iter_mptcp_subflow *it) KFUNC;
extern void bpf_iter_mptcp_subflow_destroy(struct bpf_iter_mptcp_subflow *it) KFUNC;

/* Helpers, by number (include/uapi/linux/bpf.h). */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_trace_printk)(const char *format, u32 size, ...) = (void *)6;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*const bpf_sk_storage_delete)(void *map, void *sk) = (void *)108;
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;

#define SK_STORAGE_CREATE 1

/* Maps are declared by the types of a structure's members in section `.maps`. */
#define MAP_NUMBER(name, value) int(*name)[value]
#define MAP_TYPE(name, type) type *name

#define MAP_HASH 1
#define MAP_SK_STORAGE 24
#define MAP_NO_PREALLOC 1
#define MAP_PIN_BY_NAME 1

/* The first argument of a callback: callbacks get their arguments as an array of words. */
INLINE struct mptcp_sock *msk_of(u64 *arguments)
{
	return (struct mptcp_sock *)arguments[0];
}

/* Walks the subflows of `msk`, the first one first; the iterator ends with the loop, however it is left. */
#define for_each_subflow(subflow, msk)                                                                     \
	for (struct bpf_iter_mptcp_subflow                                                                 \
		     __it __attribute__((cleanup(bpf_iter_mptcp_subflow_destroy))),                        \
	     *__once = (bpf_iter_mptcp_subflow_new(&__it, (struct sock *)(msk)), (void *)&__it);           \
	     __once && ((subflow) = bpf_iter_mptcp_subflow_next(&__it));)

/* Whether either end asked to use this subflow only when no other is left. */
INLINE bool is_backup(struct mptcp_subflow_context *subflow)
{
	return subflow->backup || subflow->request_bkup;
}

/* Whether the subflow is up and has room for more. */
INLINE bool can_take(struct mptcp_subflow_context *subflow)
{
	struct sock *ssk = bpf_mptcp_subflow_tcp_sock(subflow);

	return ssk && mptcp_subflow_active(subflow) && bpf_sk_stream_memory_free(ssk);
}

/* Marks the subflow for the next chunk; what to return from the callback. */
INLINE int schedule(struct mptcp_subflow_context *subflow)
{
	if (!subflow)
		return -1;
	mptcp_subflow_set_scheduled(subflow, true);
	return 0;
}

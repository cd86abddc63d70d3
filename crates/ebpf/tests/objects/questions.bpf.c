// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Every question that clang can record about kernel types, each answer stored in one word of `answers`. */
#include "kernel.h"

enum no_such_enum { NO_SUCH_VALUE = 5 };

struct sock___newer {
	u64 sk_of_tomorrow;
	unsigned long sk_pacing_rate;
} INDEXED;

/* As it is declared here, a word wider than the kernel has it. */
struct mptcp_pm_data___wide {
	u32 extra_subflows;
} INDEXED;

struct no_such_struct {
	int x;
} INDEXED;

u64 answers[16];

SEC("struct_ops")
int questions_get_send(u64 *arguments)
{
	struct mptcp_sock *msk = (void *)arguments[0];
	struct mptcp_subflow_context *subflow = (void *)msk;
	struct sock___newer *newer = (void *)msk;
	struct mptcp_pm_data___wide *wide = (void *)&msk->pm;
	struct mptcp_sched_data *data = (void *)msk;

	answers[0] = BYTE_OFFSET(subflow->stale_count);
	answers[1] = BYTE_SIZE(msk->snd_nxt);
	answers[2] = FIELD_EXISTS(newer->sk_of_tomorrow);
	answers[3] = FIELD_EXISTS(newer->sk_pacing_rate);
	answers[4] = FIELD_SIGNED(msk->snd_burst);
	answers[5] = LEFT_SHIFT(subflow->backup);
	answers[6] = RIGHT_SHIFT(subflow->backup);
	answers[7] = TYPE_EXISTS(struct no_such_struct);
	answers[8] = TYPE_EXISTS(struct mptcp_sock);
	answers[9] = TYPE_SIZE(struct tcp_sock);
	answers[10] = TYPE_MATCHES(struct subflow_send_info);
	answers[11] = VALUE_EXISTS(enum no_such_enum, NO_SUCH_VALUE);
	answers[12] = BYTE_OFFSET(data->contexts[3]);
	answers[13] = LOCAL_TYPE_ID(struct sock);
	answers[14] = wide->extra_subflows;
	if (FIELD_EXISTS(newer->sk_of_tomorrow))
		answers[15] = newer->sk_of_tomorrow;
	return -1;
}

SEC(".struct_ops.link")
struct mptcp_sched_ops questions = {
	.get_send = (void *)questions_get_send,
	.name = "questions",
};

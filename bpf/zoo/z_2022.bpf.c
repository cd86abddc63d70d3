// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Written for the interface of 2022: it returns nothing, and answers in its data. */
#include "../include/mptcp_sched.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* The forms of the structures in that year. */
struct mptcp_sched_data___2022 {
	unsigned long bitmap;
} __attribute__((preserve_access_index));

struct mptcp_sched_ops___2022 {
	void (*get_subflow)(const struct mptcp_sock *msk, struct mptcp_sched_data___2022 *data);
	char name[16];
};

SEC("struct_ops")
void z_2022_get_subflow(u64 *arguments)
{
	((struct mptcp_sched_data___2022 *)arguments[1])->bitmap = 1;
}

SEC(".struct_ops")
struct mptcp_sched_ops___2022 z_2022 = {
	.get_subflow = (void *)z_2022_get_subflow,
	.name = "z_2022",
};

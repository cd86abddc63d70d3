/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What every test object needs, whatever kernel types it declares. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;

#define NULL ((void *)0)
#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))
#define INDEXED __attribute__((preserve_access_index))
#define NOINLINE __attribute__((noinline))

char _license[] SEC("license") = "Dual MIT/GPL";

/* What about a field, type or value is asked (clang's own numbers). */
#define BYTE_OFFSET(field) __builtin_preserve_field_info(field, 0)
#define BYTE_SIZE(field) __builtin_preserve_field_info(field, 1)
#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define FIELD_SIGNED(field) __builtin_preserve_field_info(field, 3)
#define LEFT_SHIFT(field) __builtin_preserve_field_info(field, 4)
#define RIGHT_SHIFT(field) __builtin_preserve_field_info(field, 5)
#define LOCAL_TYPE_ID(type) __builtin_btf_type_id(*(type *)0, 0)
#define TARGET_TYPE_ID(type) __builtin_btf_type_id(*(type *)0, 1)
#define TYPE_EXISTS(type) __builtin_preserve_type_info(*(type *)0, 0)
#define TYPE_SIZE(type) __builtin_preserve_type_info(*(type *)0, 1)
#define TYPE_MATCHES(type) __builtin_preserve_type_info(*(type *)0, 2)
#define VALUE_EXISTS(type, value) __builtin_preserve_enum_value(*(type *)value, 0)
#define VALUE(type, value) __builtin_preserve_enum_value(*(type *)value, 1)

/* A bit field, read by whatever word the kernel has it in. */
#define READ_BITS(subflow, field)                                                                          \
	({                                                                                                 \
		u64 word = 0;                                                                              \
		probe_read_kernel(&word, BYTE_SIZE((subflow)->field),                                      \
				  (void *)(subflow) + BYTE_OFFSET((subflow)->field));                      \
		word <<= LEFT_SHIFT((subflow)->field);                                                     \
		FIELD_SIGNED((subflow)->field) ? (u64)((long long)word >> RIGHT_SHIFT((subflow)->field))   \
					       : word >> RIGHT_SHIFT((subflow)->field);                    \
	})

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const trace_printk)(const char *format, u32 size, ...) = (void *)6;
static void *(*const sk_storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*const probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static void *(*const skc_to_tcp_sock)(void *sk) = (void *)137;

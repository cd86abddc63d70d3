#!/bin/sh
# Builds the test objects beside this script, one in each shape that clang and bpftool give them:
# every version of the instruction set, stripped, with debug information, linked.
set -eu
cd "$(dirname "$0")"
out=${OUT:-.}
twins=${OUT:-twins}
clang=${CLANG:-clang-19}
strip=${STRIP:-llvm-strip-19}

build() { # SOURCE OBJECT CPU
	"$clang" -target bpfel -mcpu="$3" -O2 -g -Wall -Werror -c "$1.bpf.c" -o "$2.o"
}

for cpu in v1 v2 v3 v4; do
	build g1_private "$out/g1_private_$cpu" "$cpu"
	"$strip" -g "$out/g1_private_$cpu.o"
done
for source in g2_kernel g2b_kernel g3_kernel questions; do
	build "$source" "$out/$source" v3
	"$strip" -g "$out/$source.o"
done
# As clang leaves it, with DWARF.
build g2b_kernel "$out/g2b_kernel_dwarf" v3
# Linked, which renumbers types and fills in what clang leaves at 0.
bpftool gen object "$out/g3_kernel_linked.o" "$out/g3_kernel.o"

# Schedulers that pick what native ones pick, each in every shape.
for twin in twin1 twin2 twin2b twin3; do
	for cpu in v1 v2 v3 v4; do
		build "twins/$twin" "$twins/${twin}_$cpu" "$cpu"
		"$strip" -g "$twins/${twin}_$cpu.o"
	done
	build "twins/$twin" "$twins/${twin}_dwarf" v3
	bpftool gen object "$twins/${twin}_linked.o" "$twins/${twin}_v3.o"
done

#!/bin/sh
# Builds every scheduler here, or those that are named: `build.sh [SOURCE.bpf.c ...]`.
#
# The objects are committed and built into Guywire, so that nobody needs clang to build it; whoever
# changes a source runs this. CLANG and STRIP name the tools; OUT is where the objects go (default:
# beside their sources).
set -eu
here=$(dirname "$0")
clang=${CLANG:-clang-19}
strip=${STRIP:-llvm-strip-19}
# Where this is built is nobody's business: names of sources in the objects begin here.
root=$(cd "$here" && pwd)
names="-ffile-compilation-dir=. -ffile-prefix-map=$root/="

if [ $# -eq 0 ]; then
	set -- "$here"/bpf_*/*.bpf.c "$here"/zoo/*.bpf.c
fi
for source; do
	object=${OUT:-$(dirname "$source")}/$(basename "$source" .c).o
	# shellcheck disable=SC2086 # two words
	"$clang" -target bpfel -mcpu=v3 -O2 -g $names -Wall -Wextra -Werror -c "$source" -o "$object"
	# Debug information goes, types (.BTF) stay.
	"$strip" -g "$object"
done

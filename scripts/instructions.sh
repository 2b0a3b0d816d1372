#!/bin/sh
# What fixed work costs the broker's core, in instructions, against the figures that are kept.
#
#   scripts/instructions.sh [--keep] [WORK...]
#
# Counts what benches/work/ has the broker do (valgrind's callgrind; clients and set-up are not counted) and
# compares it with scripts/instructions.txt: more than a twentieth above it is an error. --keep writes the new
# figures of all works there. SHA-256 itself is left out: valgrind may not know the processor's instructions for
# it, and counts four fifths of all as the way without them then.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
kept=$root/scripts/instructions.txt
keep=no
if [ "${1:-}" = --keep ]; then
    keep=yes
    shift
fi
[ $# -gt 0 ] || set -- one-64 one-1k one-single fifty-100 connect-100
command -v valgrind >/dev/null || { echo "instructions.sh: valgrind is missing: sudo apt-get install valgrind" >&2; exit 2; }

program=$(cargo bench --locked --manifest-path "$root/Cargo.toml" --profile profiling --bench work --no-run \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*work-[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$program" ] || { echo "instructions.sh: the work was not built" >&2; exit 2; }
temp=$(mktemp -d "${TMPDIR:-/tmp}/sealmq-instructions.XXXXXX")
trap 'rm -rf "$temp"' EXIT
status=0

for work in "$@"; do
    valgrind --tool=callgrind --callgrind-out-file="$temp/$work.out" --collect-atstart=no \
        --toggle-collect='*Stage::serve' "$program" "$work" >"$temp/$work.txt" 2>"$temp/$work.err"
    callgrind_annotate --threshold=100 --auto=no "$temp/$work.out" >"$temp/$work.functions"
    # Lines are "1,234 ( 5.6%)  file:function".
    all=$(awk '/sha2::sha256/ || /PROGRAM TOTALS/ || !/^ *[0-9][0-9,]* +\(/ { next }
        { gsub(",", "", $1); sum += $1 } END { printf "%d", sum }' "$temp/$work.functions")
    units=$(sed -n 's/^units //p' "$temp/$work.txt")
    each=$((all / units))
    before=$(sed -n "s/^$work //p" "$kept" 2>/dev/null || true)
    printf '%s %s\n' "$work" "$each" >>"$temp/new"
    if [ -z "$before" ]; then
        printf '%-14s %10d each\n' "$work" "$each"
    else
        printf '%-14s %10d each, %d %% of %d\n' "$work" "$each" "$((each * 100 / before))" "$before"
        [ "$((each * 20))" -le "$((before * 21))" ] || status=1
    fi
done
if [ "$keep" = yes ]; then
    cp "$temp/new" "$kept"
elif [ "$status" != 0 ]; then
    echo "instructions.sh: more than a twentieth above what is kept" >&2
    exit 1
fi

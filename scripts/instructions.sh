#!/bin/sh
# What fixed work costs the broker's core, in instructions, against the figures that are kept.
#
#   scripts/instructions.sh [--keep] [WORK...]
#
# Counts what benches/work/ has the broker do (valgrind's callgrind; clients and set-up are not counted)
# and compares it with scripts/instructions.txt. More than a tenth above it is an error. --keep writes the
# new figures there. They are of this host's compiler, and of what valgrind knows of a processor: it may lack
# the instructions for SHA-256, and counts the way without them then.
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
    all=$(sed -n 's/^summary: //p' "$temp/$work.out")
    units=$(sed -n 's/^units //p' "$temp/$work.txt")
    each=$((all / units))
    before=$(sed -n "s/^$work //p" "$kept" 2>/dev/null || true)
    printf '%s %s\n' "$work" "$each" >>"$temp/new"
    if [ -z "$before" ]; then
        printf '%-14s %10d each\n' "$work" "$each"
    else
        printf '%-14s %10d each, %d %% of %d\n' "$work" "$each" "$((each * 100 / before))" "$before"
        [ "$((each * 10))" -le "$((before * 11))" ] || status=1
    fi
done
if [ "$keep" = yes ]; then
    cp "$temp/new" "$kept"
elif [ "$status" != 0 ]; then
    echo "instructions.sh: more than a tenth above what is kept" >&2
    exit 1
fi

#!/usr/bin/env bash
# Shows sealmq at work: a CA, a broker and four clients in a scratch folder on this host.
# Starts nothing outside 127.0.0.1 and removes everything after itself.
set -euo pipefail

cd "$(dirname "$0")/.."

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' blue=$'\e[36m' plain=$'\e[0m'
else
    bold='' dim='' green='' blue='' plain=''
fi

# What is narrated, wherever a command's own output goes.
exec 3>&1

step() { printf '\n%s%s%s\n' "$bold$blue" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
# Shows a command as one would type it, then runs it.
run() {
    local word line='$ sealmq'
    for word in "$@"; do
        case $word in *[!A-Za-z0-9._/,:=-]*) line+=" '$word'" ;; *) line+=" $word" ;; esac
    done
    printf '%s%s%s\n' "$dim" "$line" "$plain" >&3
    "$bin/sealmq" "$@"
}
fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

step "Building sealmqd and sealmq"
cargo build --locked --bins
bin=${CARGO_TARGET_DIR:-$PWD/target}/debug

scratch=$(mktemp -d "${TMPDIR:-/tmp}/sealmq-demo.XXXXXX")
pids=()
clean_up() {
    code=$?
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

export SEALMQ_HOME=$scratch/home XDG_STATE_HOME=$scratch/state
unset SEALMQ_AS SEALMQ_HOST SEALMQ_PORT
mkdir -p "$SEALMQ_HOME"

# Waits, up to 10 s, until a file has a line that matches.
wait_for() {
    for _ in $(seq 200); do
        if grep -q -- "$2" "$1" 2>/dev/null; then return; fi
        sleep 0.05
    done
    cat "$1" >&2 || true
    fail "$3"
}

# How often a text stands in the writable memory of a process; fails where that may not be read.
count_in_memory() {
    local pid=$1 text=$2 range mode from to found total=0
    while read -r range mode _; do
        case $mode in rw*) ;; *) continue ;; esac
        from=$((16#${range%-*})) to=$((16#${range#*-}))
        dd if="/proc/$pid/mem" iflag=skip_bytes,count_bytes bs=1M skip="$from" count=$((to - from)) \
            of="$scratch/memory" 2>/dev/null || return 1
        found=$(grep -a -o -F -- "$text" "$scratch/memory" | wc -l)
        total=$((total + found))
        # The first message body in the broker: a Fernet token begins with 0x80 and a time.
        if [ -n "${3:-}" ] && [ ! -s "$3" ]; then
            local at
            at=$(LC_ALL=C grep -a -o -b -P '\x80\x00\x00\x00\x00[\x60-\x7f]' "$scratch/memory" |
                head -n 1 | cut -d: -f1 || true)
            [ -z "$at" ] || od -A n -t x1 -j "$at" -N 64 "$scratch/memory" >"$3"
        fi
    done <"/proc/$pid/maps"
    rm -f "$scratch/memory"
    printf '%s' "$total"
}

step "1. A certificate authority, a certificate for the broker, and four clients"
run ca init >"$scratch/ca.txt"
head -n 2 "$scratch/ca.txt"
run ca issue --broker broker >/dev/null
for name in alice bob carol dave; do
    run ca issue "$name" | head -n 2
done
# The key that can invent members does not belong on the broker's host.
mkdir "$scratch/elsewhere" && mv "$SEALMQ_HOME/keys/ca.key" "$scratch/elsewhere/"

step "2. The broker, on a port that the system chooses"
"$bin/sealmqd" --listen 127.0.0.1:0 >"$scratch/broker.out" 2>"$scratch/broker.log" </dev/null &
broker=$!
pids+=("$broker")
wait_for "$scratch/broker.out" '^listening on' "the broker did not start: $(cat "$scratch/broker.log")"
cat "$scratch/broker.out"
SEALMQ_PORT=$(sed -n '1s/.*://p' "$scratch/broker.out")
export SEALMQ_PORT SEALMQ_HOST=localhost

step "3. alice makes a topic that bob and carol may read, and bob listens"
run create home/kitchen --as alice --to bob,carol --trust-new
"$bin/sealmq" sub --as bob -t 'home/#' -F '   bob reads: %t from %s: %p' >"$scratch/bob.out" 2>&1 </dev/null &
bob=$!
pids+=("$bob")

step "4. alice publishes"
canary="the cake is in the oven ($RANDOM$RANDOM)"
run pub --as alice -t home/kitchen -m "$canary"
printf '%s\n' 21.5 21.7 22.0 | run pub --as alice -t home/kitchen -l
wait_for "$scratch/bob.out" ' 22.0$' "bob did not get alice's messages"
cat "$scratch/bob.out"

step "5. carol comes late and first receives the past messages"
run sub --as carol -t home/kitchen -e -F '   carol reads: offset %o, %I: %p' >"$scratch/carol.out"
cat "$scratch/carol.out"
[ "$(wc -l <"$scratch/carol.out")" -eq 4 ] || fail "carol should have read four messages"

step "6. dave comes late and asks; alice lets him in; then bob has to go"
run sub home/kitchen --as dave || [ $? -eq 6 ] || fail "dave should have been told that he has asked"
run requests --as alice
run grant home/kitchen dave --as alice --trust-new
run sub home/kitchen --as dave -e -F '   dave reads: %s said %p' >"$scratch/dave.out"
cat "$scratch/dave.out"
[ "$(wc -l <"$scratch/dave.out")" -eq 4 ] || fail "dave should have read four messages"
run revoke home/kitchen bob --as alice
run pub --as alice -t home/kitchen -m "not for bob"
run sub home/kitchen --as bob -e && fail "bob should not be able to read" || [ $? -eq 5 ] || fail "bob was not refused"
[ "$(run sub home/kitchen --as dave -e --from last=1)" = "not for bob" ] || fail "dave should read on"

step "7. What the broker itself holds"
run topics -v --as alice
if in_broker=$(count_in_memory "$broker" "$canary" "$scratch/token") 2>/dev/null; then
    in_script=$(count_in_memory "$$" "$canary") || in_script=0
    [ "$in_script" -gt 0 ] || fail "the search finds nothing even where the sentence is: in this script"
    say "alice's sentence stands $in_script times in this script's memory, and $in_broker times in the broker's."
    say "The broker has this in its place (the beginning of a Fernet token):"
    [ ! -s "$scratch/token" ] || cat "$scratch/token"
    [ "$in_broker" -eq 0 ] || fail "the broker holds the plaintext"
else
    say "(This system does not let one process read another's memory, so that look is left out.)"
fi
! grep -q -F -- "$canary" "$scratch/broker.log" || fail "the broker's log holds the plaintext"

step "8. The end"
kill -TERM "$broker"
wait "$broker" || fail "the broker did not end well"
pids=("$bob")
printf '%s%s%s\n' "$green" "Everything worked; the scratch folder is removed." "$plain"

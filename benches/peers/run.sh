#!/bin/sh
# The same work for mosquitto, NATS and sealmq, on this host, in one run. README.md says what it means.
#
#   ./run.sh [--no-install] [--rumqttd] [--out DIR] [options of `peers run`: --rounds N, --quick, --only ID,...]
#
# Installs the peers from Debian if they are missing and we may, builds sealmqd and the load generator,
# measures, and writes tables, samples and chart to results/ beside this script (or DIR).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
install=yes
rumqttd=no
out=$here/results

say() { printf '%s\n' "$*" >&2; }

# Our own options are taken out of the arguments, in one turn through them.
count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    --no-install) install=no ;;
    --rumqttd) rumqttd=yes ;;
    --out)
        [ "$count" -gt 0 ] || { say "run.sh: --out wants a folder"; exit 2; }
        out=$1
        shift
        count=$((count - 1))
        ;;
    --out=*) out=${word#--out=} ;;
    -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) set -- "$@" "$word" ;;
    esac
done

has() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null 2>&1; }

missing=
has mosquitto || missing="$missing mosquitto"
has nats-server || missing="$missing nats-server"
if [ -n "$missing" ]; then
    if [ "$install" = yes ] && [ "$(id -u)" = 0 ] && has apt-get; then
        say "installing$missing"
        # shellcheck disable=SC2086 # Two words are two packages.
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >&2
    else
        say "not installed:$missing; they are left out. To have them: sudo apt-get install$missing"
    fi
fi

say "building sealmqd and the load generator"
# Two trees of dependencies, so two targets, unless told where.
cargo build --release --locked --manifest-path "$root/Cargo.toml" --bin sealmqd
cargo build --release --locked --manifest-path "$here/Cargo.toml" --target-dir "${CARGO_TARGET_DIR:-$here/target}"
target=${CARGO_TARGET_DIR:-}
sealmqd=${target:-$root/target}/release/sealmqd
peers=${target:-$here/target}/release/peers

temp=$(mktemp -d "${TMPDIR:-/tmp}/sealmq-peers.XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM

# A third peer, for who has the minutes that it takes to build.
if [ "$rumqttd" = yes ]; then
    if cargo install rumqttd --version '^0.19' --locked --root "$temp" >"$temp/rumqttd.log" 2>&1; then
        set -- "$@" --rumqttd "$temp/bin/rumqttd"
    else
        say "rumqttd does not build here, and is left out: $(tail -n 1 "$temp/rumqttd.log")"
    fi
fi

TMPDIR=$temp "$peers" run --sealmqd "$sealmqd" --out "$out" "$@"
say "written: $out/table.md, $out/chart.svg, $out/samples.jsonl, $out/machine.json"

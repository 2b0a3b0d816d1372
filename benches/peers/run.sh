#!/bin/sh
# The same work for mosquitto, NATS and sealmq, on this host, in one run. README.md says what it means.
#
#   ./run.sh [--no-install] [--rumqttd] [--growth | --all] [--out DIR]
#            [options of `peers run` or `peers growth`: --rounds N, --quick, --only ID,...]
#
# Installs the peers from Debian if they are missing and we may, builds sealmqd and the load generator,
# measures, and writes tables, samples and charts to results/ beside this script (or DIR). --growth
# measures instead what sealmq costs as it grows; --all does both, and takes no option but --quick.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
install=yes
rumqttd=no
parts=run
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
    --growth) parts=growth ;;
    --all) parts="run growth" ;;
    --out)
        [ "$count" -gt 0 ] || { say "run.sh: --out wants a folder"; exit 2; }
        out=$1
        shift
        count=$((count - 1))
        ;;
    --out=*) out=${word#--out=} ;;
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
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

# What is refused should be refused before half an hour has passed.
case $parts,$* in
*growth, | *growth,--quick | run,* | growth,*) ;;
*) say "run.sh: --all takes --quick alone; else run the two parts one after the other"; exit 2 ;;
esac

say "building sealmqd and the load generator"
# Two packages with much in common: one target folder builds that once.
target=${CARGO_TARGET_DIR:-$root/target}
cargo build --release --locked --manifest-path "$root/Cargo.toml" --target-dir "$target" --bin sealmqd
cargo build --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$target"
sealmqd=$target/release/sealmqd
peers=$target/release/peers

temp=$(mktemp -d "${TMPDIR:-/tmp}/sealmq-peers.XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM

# A third peer, for who has the minutes that it takes to build; it is kept beside what else was built.
if [ "$rumqttd" = yes ] && [ "$parts" != growth ]; then
    kept=$target/rumqttd
    if [ ! -x "$kept/bin/rumqttd" ]; then
        say "building rumqttd, some minutes"
        # Not --locked: its own lock file has a version of metrics that newer compilers refuse (E0521).
        cargo install rumqttd --version '^0.20' --no-default-features --features use-rustls,verify-client-cert \
            --root "$kept" --target-dir "$kept/build" >"$temp/rumqttd.log" 2>&1 ||
            say "rumqttd does not build here, and is left out: $(grep -m 3 '^error' "$temp/rumqttd.log")"
    fi
    [ ! -x "$kept/bin/rumqttd" ] || rumqttd=$kept/bin/rumqttd
fi

for part in $parts; do
    case $part in
    run)
        case $rumqttd in
        /*) TMPDIR=$temp "$peers" run --sealmqd "$sealmqd" --rumqttd "$rumqttd" --out "$out" "$@" ;;
        *) TMPDIR=$temp "$peers" run --sealmqd "$sealmqd" --out "$out" "$@" ;;
        esac
        ;;
    growth) TMPDIR=$temp "$peers" growth --sealmqd "$sealmqd" --out "$out" "$@" ;;
    esac
done
say "written to $out: table.md, the charts, the samples, machine.json"

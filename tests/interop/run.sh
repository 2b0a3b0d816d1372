#!/usr/bin/env bash
# Runs the independent Python client against the vectors, against lies, and against a real broker.
#
#   tests/interop/run.sh [FOLDER]      FOLDER holds sealmqd and sealmq; default: target/debug, built first
#
# Ends with "N passed, N failed". The exit code is 0 only if everything ran and passed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

if (($#)); then
    binaries=$1
else
    cargo build --quiet --locked --bins --manifest-path "$root/Cargo.toml"
    binaries=$target/debug
fi
for program in sealmqd sealmq; do
    [[ -x $binaries/$program ]] || { echo "$binaries/$program is not there: build it first" >&2; exit 1; }
done

# The client needs `cryptography`, and of a version that has all that is asked of it.
usable() {
    "$1" -c 'import sys, cryptography
sys.exit(sys.version_info < (3, 11) or int(cryptography.__version__.split(".")[0]) < 43)' 2>/dev/null
}
python=python3
if ! usable "$python"; then
    environment=$target/interop-venv
    python=$environment/bin/python
    if ! usable "$python"; then
        echo "making $environment with cryptography from PyPI"
        python3 -m venv --clear "$environment"
        "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
        usable "$python" || { echo "python 3.11 and cryptography 43 or newer are needed" >&2; exit 1; }
    fi
fi

export PYTHONDONTWRITEBYTECODE=1
vectors=0 lies=0 broker=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$python" "$here/vectors_check.py" "$root/tests/vectors" | tee -a "$output" || vectors=$?
"$python" "$here/lies_check.py" | tee -a "$output" || lies=$?
"$python" "$here/test_interop.py" --sealmqd "$binaries/sealmqd" --sealmq "$binaries/sealmq" | tee -a "$output" || broker=$?

# Each writes a last line of their own; one that is missing was not run to its end.
awk '/^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3; parts++ }
     END { if (parts != 3) failed += 3 - parts; printf "%d passed, %d failed\n", passed, failed; exit !(passed && !failed) }' "$output" ||
    exit 1
exit $((vectors || lies || broker))

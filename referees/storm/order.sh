#!/usr/bin/env bash
# The order of system calls: the receipt of a verdict is durable before the call goes to the upstream.
#
#   referees/storm/order.sh
#
# A kill leaves the page cache, so a storm can't show durability; the order of the calls can. The monitor
# and the shim run under strace (Debian package `strace`). For each call that the upstream got, it must
# hold: the monitor's write of the receipt, then its fdatasync returned 0, then its answer to the shim,
# then the shim's write to the upstream.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
command -v strace >/dev/null || { echo "SKIPPED: strace is not there (Debian package strace)"; exit 0; }
strace -f -o /dev/null true 2>/dev/null || { echo "SKIPPED: strace may not trace here"; exit 0; }
if [ -z "${TIPSTAFF:-}" ]; then
    (cd "$root" && cargo build --quiet -p tipstaff)
    TIPSTAFF=${CARGO_TARGET_DIR:-$root/target}/debug/tipstaff
fi
export TIPSTAFF
exec python3 "$here/order.py"

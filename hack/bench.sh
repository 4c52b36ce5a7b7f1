#!/usr/bin/env bash
# Measures the registry: with flags just what they say (see `bin/bench --help`), without any of them everything, manifests
# beside the fastest registry that is known for them, which keeps everything in memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
versitygw=$(hack/tool.sh versitygw)/versitygw
if [ $# -gt 0 ]; then
  exec bin/bench --versitygw "$versitygw" "$@"
fi
crane=$(hack/tool.sh crane)/crane
log=$(mktemp)
trap 'kill "$peer" 2>/dev/null || true; wait "$peer" 2>/dev/null || true; rm -f "$log"' EXIT
"$crane" registry serve --address 127.0.0.1:0 >"$log" 2>&1 &
peer=$!
for _ in $(seq 100); do
  port=$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' "$log")
  [ -z "$port" ] || break
  sleep 0.1
done
[ -n "$port" ] || { echo "the peer does not say where it serves:" >&2; cat "$log" >&2; exit 1; }
echo "peer: $("$crane" version) of go-containerregistry's registry, in memory" >&2
bin/bench --drivers filesystem,inmemory --only 'manifest.*open' --rounds 7 --peer "http://127.0.0.1:$port" --peer-pid "$peer"
bin/bench --versitygw "$versitygw" --only 'manifest.*auth|s3: .*manifest|pull|push|page'

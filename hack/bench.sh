#!/usr/bin/env bash
# Measures the registry beside distribution and beside go-containerregistry's registry, which keeps everything in memory and is
# the fastest that is known for manifests. With flags just what they say (see `bin/bench --help`); without any of them what
# docs/performance.md shows, whose tables it writes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
crane=$(hack/tool.sh crane)/crane
distribution=$(hack/tool.sh distribution)/registry
programs=(--versitygw "$(hack/tool.sh versitygw)/versitygw")
peers=(--crane "$crane" --distribution "$distribution")
if [ $# -gt 0 ]; then
  exec bin/bench "${programs[@]}" "${peers[@]}" "$@"
fi
echo "peers: go-containerregistry $("$crane" version), in memory, over plain HTTP without users; $("$distribution" --version)" >&2
section() { bin/bench "${programs[@]}" --document docs/performance.md --section "$@"; }
section https "${peers[@]}" --drivers filesystem --only '(manifest by tag|pull|push 10* MiB,).*https' --rounds 3
section http "${peers[@]}" --drivers filesystem --only '(manifest by tag|pull|push 10* MiB,).*open' --rounds 3
section s3 --drivers s3 --only '(manifest by tag|pull 1 |push 10* MiB,).*https'
section lists --drivers filesystem,s3 --only 'filesystem: .* page of|s3: .* page of 10000 '

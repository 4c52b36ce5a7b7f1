#!/usr/bin/env bash
# Measures the registry beside distribution and beside go-containerregistry's registry, which keeps everything in memory and is
# the fastest that is known for manifests. With flags just what they say (see `bin/bench --help`); without any of them what
# docs/performance.md shows.
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
bin/bench "${programs[@]}" "${peers[@]}" --drivers filesystem,inmemory --only 'manifest.*(open|https)' --rounds 7
bin/bench "${programs[@]}" "${peers[@]}" --drivers filesystem --only '(pull|push) .*https'
bin/bench "${programs[@]}" --only 'manifest.*, auth|s3: .*manifest.*(open|https)|(pull|push) .*(open|, auth)|page'

#!/usr/bin/env bash
# Runs the official OCI distribution conformance program against the registry, for each driver and each version of the
# specification, with every optional group that the registry supports. Not one failure is allowed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(hack/tool.sh conformance)/conformance
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill $pid 2>/dev/null; rm -rf "$work"' EXIT
for driver in inmemory filesystem; do
  storage="{inmemory: {}}"
  [ $driver = inmemory ] || storage="{filesystem: {rootdirectory: $work/data}}"
  cat >"$work/config.yml" <<CONFIG
version: 0.1
log: {accesslog: {disabled: true}}
storage: $storage
http: {addr: "127.0.0.1:0"}
CONFIG
  bin/registry serve "$work/config.yml" 2>"$work/log" &
  pid=$!
  for _ in $(seq 100); do
    address=$(sed -n 's/.*msg=serving addr=\([^ ]*\).*/\1/p' "$work/log")
    [ -z "$address" ] || break
    sleep 0.05
  done
  [ -n "$address" ] || { cat "$work/log" >&2; exit 1; }
  for version in 1.1 dev; do
    if ! OCI_REGISTRY=$address OCI_TLS=disabled OCI_REPO1=conformance/repo1 OCI_REPO2=conformance/repo2 \
      OCI_VERSION=$version OCI_RESULTS_DIR="$work/results" "$program" >"$work/out" 2>&1; then
      grep -iE 'fail' "$work/out" | head -40 >&2
      echo "conformance $version on $driver failed" >&2
      exit 1
    fi
    echo "conformance $version on $driver: $(grep -o 'tests="[0-9]*"' "$work/results/junit.xml" | head -1), no failure"
  done
  kill $pid
  wait $pid
  pid=
done

#!/usr/bin/env bash
# Runs the official OCI distribution conformance program against the registry, for each driver and each version of the
# specification, with every optional group that the registry supports. Not one failure is allowed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(hack/tool.sh conformance)/conformance
gateway=$(hack/tool.sh versitygw)/versitygw
work=$(mktemp -d)
pid= s3=
trap '[ -z "$pid" ] || kill $pid 2>/dev/null; [ -z "$s3" ] || kill -9 $s3 2>/dev/null; rm -rf "$work"' EXIT

# A real S3 server for the third driver, on a port that was free a moment ago.
s3_address=127.0.0.1:$(( 20000 + RANDOM % 20000 ))
mkdir -p "$work/s3/packs"
ROOT_ACCESS_KEY_ID=conformance ROOT_SECRET_ACCESS_KEY=conformance "$gateway" --port "$s3_address" --keep-alive --quiet posix "$work/s3" >"$work/s3.log" 2>&1 &
s3=$!
disown $s3 # so that the shell does not tell of its end

for driver in inmemory filesystem s3; do
  case $driver in
  inmemory) storage="{inmemory: {}}" ;;
  filesystem) storage="{filesystem: {rootdirectory: $work/data}}" ;;
  s3) storage="{s3: {bucket: packs, regionendpoint: 'http://$s3_address', accesskey: conformance, secretkey: conformance}}" ;;
  esac
  # Sparse images and indexes name content that is not there.
  cat >"$work/config.yml" <<CONFIG
version: 0.1
log: {accesslog: {disabled: true}}
storage: $storage
manifests: {missing: accept}
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
      OCI_VERSION=$version OCI_DATA_SPARSE=true OCI_RESULTS_DIR="$work/results" "$program" >"$work/out" 2>&1; then
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

#!/usr/bin/env bash
# Installs what the local cluster and the demo (or, with the word "tests", the tests too) need of Debian's packages, where it
# is missing.
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need runc runc
need nft nftables
need ip iproute2
need nsenter util-linux
need sysctl procps
need openssl openssl
need curl curl
if [ "${1:-}" = tests ]; then
  need skopeo skopeo # one of the clients that the tests try
  need strace strace # counts system calls
  need chromium chromium # opens the pages
  need npm npm # fetches axe-core (hack/axe.sh)
fi
# docker's command line alone, which is one of the clients that the tests try; Debian 12 has it in the package of the engine.
docker_client() {
  apt-get update -q >/dev/null
  if [ -n "$(apt-cache show docker-cli 2>/dev/null)" ]; then
    apt-get install -q -y --no-install-recommends docker-cli >/dev/null
    return
  fi
  local dir; dir=$(mktemp -d)
  chmod 755 "$dir" # apt drops its rights for downloads
  (cd "$dir" && apt-get download -q docker.io >/dev/null 2>&1 && dpkg-deb -x docker.io_*.deb . && install -m 755 usr/bin/docker /usr/local/bin/docker) ||
    echo "docker's command line cannot be had; what tests it is skipped, and fails in CI" >&2
  rm -rf "$dir"
}
need gcc gcc # the race detector links with it
if [ "${1:-}" = tests ] && ! command -v docker >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "installing docker's command line" >&2
  docker_client
fi
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
  echo "missing: ${missing[*]}; install them with your system's package manager" >&2
  exit 1
fi
echo "installing ${missing[*]} from Debian's packages" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null

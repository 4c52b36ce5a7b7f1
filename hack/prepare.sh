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
fi
need gcc gcc # the race detector links with it
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
  echo "missing: ${missing[*]}; install them with your system's package manager" >&2
  exit 1
fi
echo "installing ${missing[*]} from Debian's packages" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null

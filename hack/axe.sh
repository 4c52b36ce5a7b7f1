#!/usr/bin/env bash
# Fetches axe-core, which finds what keeps people from using a page, into the tools' cache outside of the checkout, and prints the
# folder that holds axe.min.js. It is an npm package, pinned by its hash, and no part of the programs.
set -euo pipefail
version=4.14.1
integrity=sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==

cache=${PACKREGISTRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/packregistry}
target=$cache/axe-core-$version
if [ -e "$target/axe.min.js" ]; then
  echo "$target"
  exit
fi
command -v npm >/dev/null 2>&1 || { echo "axe.sh: npm is missing; install it (hack/prepare.sh tests)" >&2; exit 1; }
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetching-XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "axe-core@$version" >/dev/null)
found=sha512-$(openssl dgst -sha512 -binary "$work/axe-core-$version.tgz" | openssl base64 -A)
[ "$found" = "$integrity" ] || { echo "axe.sh: axe-core $version has the hash $found, not $integrity" >&2; exit 1; }
tar -xzf "$work/axe-core-$version.tgz" -C "$work" package/axe.min.js package/LICENSE
chmod 755 "$work/package"
mv -T "$work/package" "$target" 2>/dev/null || [ -e "$target/axe.min.js" ]
echo "$target"

#!/usr/bin/env bash
# Builds a tool from its pinned Go module, once, into a cache outside of the checkout, and prints the folder it is in.
# The cache is keyed by everything that the binaries depend on, so a changed version is another folder.
#
#   hack/tool.sh cluster          the programs of the local Kubernetes
#   hack/tool.sh helm             (or any other folder of hack/tools)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PACKREGISTRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/packregistry}
name=${1:?usage: tool.sh NAME}
kubernetes_version=v1.37.2

case $name in
cluster) source=$here/cluster/components ;;
*) source=$here/tools/$name ;;
esac
[ -d "$source" ] || { echo "tool.sh: no tool $name in ${source%/*}" >&2; exit 2; }

# The Go release is part of the key: what it builds differs.
key=$( (go env GOVERSION GOARCH; cat "${BASH_SOURCE[0]}"; cd "$source" && find . -type f | LC_ALL=C sort | xargs cat) | git hash-object --stdin | cut -c1-16)
target=$cache/$name-$key
if [ -e "$target/.complete" ]; then
  echo "$target"
  exit
fi

say() { echo "$@" >&2; }
mkdir -p "$cache"
exec 9>"$cache/.lock"
# Two builds at once would only take each other's processor. (Not every system has flock; there they do.)
! command -v flock >/dev/null 2>&1 || flock 9
if [ -e "$target/.complete" ]; then
  echo "$target"
  exit
fi
work=$(mktemp -d "$cache/building-XXXXXX")
trap 'rm -rf "$work"' EXIT

# build DIR LDFLAGS PACKAGE… : compiles and shows how far it has come.
build() {
  local dir=$1 flags=$2 started=$SECONDS total
  shift 2
  say "fetching the modules of $(basename "$dir")"
  total=$(cd "$dir" && CGO_ENABLED=0 go list -deps "$@" 2> >(grep -v '^go: downloading' >&2) | wc -l)
  say "building $(basename "$dir") ($total packages; only the first time)"
  (cd "$dir" && CGO_ENABLED=0 go build -v -trimpath -ldflags "$flags" -o "$work/" "$@" 2>&1) |
    awk -v total="$total" '
      /^(go: downloading|go: finding)/ { next }
      /^[a-zA-Z0-9.\/_-]+$/ { if (++n % 200 == 0) { print "  compiled " n " of at most " total > "/dev/stderr" }; next }
      { print > "/dev/stderr" }'
  say "  done after $((SECONDS - started)) s"
}

small='-s -w'
case $name in
cluster)
  version=k8s.io/component-base/version
  build "$source/kubernetes" "$small -X $version.gitVersion=$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=37 -X $version.gitTreeState=clean" .
  for program in kube-apiserver kubectl; do ln "$work/kubernetes" "$work/$program"; done
  build "$source/etcd" "$small" go.etcd.io/etcd/server/v3
  mv "$work/v3" "$work/etcd" 2>/dev/null || mv "$work/server" "$work/etcd"
  build "$source/containerd" "$small -X github.com/containerd/containerd/v2/version.Version=$(cd "$source/containerd" && go list -m -f '{{.Version}}' github.com/containerd/containerd/v2)" github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
  build "$source/cni" "$small" github.com/containernetworking/plugins/plugins/{main/bridge,main/loopback,ipam/host-local}
  build "$source/coredns" "$small" .
  build "$source/pause" "$small" .
  ;;
*)
  packages=$(cd "$source" && go list -f '{{.ImportPath}}' tool)
  # shellcheck disable=SC2086 # one word a package
  build "$source" "$small" $packages
  ;;
esac
touch "$work/.complete"
chmod 755 "$work"
rm -rf "$target"
mv "$work" "$target"
trap - EXIT
echo "$target"

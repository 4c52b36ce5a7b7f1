#!/usr/bin/env bash
# The whole product in one go: a cluster, the operator by Helm, a PackRegistry, a pack pushed and read back over HTTPS.
# `make demo` builds what this needs and calls it. Everything it does can be done twice; the second time changes nothing.
#
#   KUBECONFIG      use this cluster, and start none
#   IMAGE_PREFIX    with KUBECONFIG: push the images there, for the cluster to pull (such as ghcr.io/me)
#   IMAGES_LOADED=1 with KUBECONFIG: the cluster has the images already
#   HTTPS_PORT      loopback port that leads to the local cluster's 443 (default 443)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

namespace=packs-demo
operator_namespace=packregistry-system
user=admin
password=change-me # of config/samples/users.yaml
work=bin/demo
port=${HTTPS_PORT:-443}

step() { printf '\n==> %s\n' "$*"; }
show() { printf '    %s\n' "$@"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

sha256() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi | cut -d' ' -f1; }

forward_pid=
cleanup() { [ -z "$forward_pid" ] || kill "$forward_pid" 2>/dev/null || true; }
trap cleanup EXIT

# The local cluster's own kubeconfig, which the last run told to export, means the local cluster.
if [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" = "$(bin/cluster kubeconfig 2>/dev/null)" ]; then
  unset KUBECONFIG
fi
if [ -z "${KUBECONFIG:-}" ] && { [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; }; then
  fail "the local cluster needs Linux and root, for namespaces and mounts.
Elsewhere, use a cluster that you have: KUBECONFIG=~/.kube/config IMAGE_PREFIX=<a registry you can push to> make demo"
fi
[ "${1:-}" != --check ] || exit 0
mkdir -p "$work"
# Nothing is left in the home folder.
export KUBECACHEDIR=$PWD/$work/kube HELM_CACHE_HOME=$PWD/$work/helm HELM_CONFIG_HOME=$PWD/$work/helm HELM_DATA_HOME=$PWD/$work/helm
registry_image=$(cat bin/images/registry.tar.name)
operator_image=$(cat bin/images/operator.tar.name)
helm=$(hack/tool.sh helm)/helm

if [ -n "${KUBECONFIG:-}" ]; then
  local_cluster=
  step "Using the cluster of KUBECONFIG"
  kubectl=$(command -v kubectl) || fail "kubectl is not installed"
  if [ -n "${IMAGE_PREFIX:-}" ]; then
    for name in registry operator; do
      archive=bin/images/$name.tar
      image=$IMAGE_PREFIX/$name:$(sed 's/.*://' $archive.name)
      show "pushing $image"
      bin/image push "$archive" "$image"
      declare "${name}_image=$image"
    done
  elif [ -z "${IMAGES_LOADED:-}" ]; then
    fail "the cluster must get the images: set IMAGE_PREFIX to a registry that you can push to and it can pull from,
or load bin/images/*.tar into its nodes (kind load image-archive, minikube image load, …) and set IMAGES_LOADED=1"
  fi
else
  local_cluster=1
  step "Starting a local Kubernetes"
  CLUSTER_COMPONENTS=$(hack/tool.sh cluster)
  export CLUSTER_COMPONENTS
  bin/cluster up --https-port "$port"
  KUBECONFIG=$(bin/cluster kubeconfig)
  export KUBECONFIG
  kubectl=$CLUSTER_COMPONENTS/kubectl
  # What is loaded once need not be loaded again.
  loaded=$KUBECONFIG.images
  for name in registry operator; do
    image=$(cat bin/images/$name.tar.name)
    grep -qsxF "$image" "$loaded" && continue
    bin/cluster load bin/images/$name.tar
    echo "$image" >>"$loaded"
  done
fi
kubectl() { "$kubectl" "$@"; }

step "Installing the operator with Helm"
# The release remembers what it was made of; the same again would only be another revision.
recipe=$( (find charts/packregistry-operator -type f | LC_ALL=C sort | xargs cat; echo "$registry_image $operator_image") | sha256 | cut -c1-16)
if "$helm" list -n $operator_namespace --deployed --filter '^packregistry$' -o json 2>/dev/null | grep -q packregistry &&
  "$helm" status packregistry -n $operator_namespace -o json 2>/dev/null | grep -q "recipe $recipe"; then
  show "is installed already"
else
  "$helm" upgrade --install packregistry charts/packregistry-operator -n $operator_namespace --create-namespace \
    --set image.repository="${operator_image%:*}",image.tag="${operator_image##*:}" \
    --set registryImage.repository="${registry_image%:*}",registryImage.tag="${registry_image##*:}" \
    --description "recipe $recipe" --wait --timeout 3m >/dev/null
  show "installed in namespace $operator_namespace"
fi

step "Applying config/samples: a PackRegistry with its users and certificate"
kubectl create namespace $namespace --dry-run=client -o yaml | kubectl apply --server-side -f - >/dev/null
if ! kubectl -n $namespace get secret packs-tls >/dev/null 2>&1; then
  show "making a certificate for packs.example.com and localhost"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -x509 -days 365 -subj /CN=packs.example.com \
    -addext subjectAltName=DNS:packs.example.com,DNS:localhost,IP:127.0.0.1 \
    -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
  kubectl -n $namespace create secret tls packs-tls --cert="$work/tls.crt" --key="$work/tls.key" >/dev/null
  rm "$work/tls.key"
fi
kubectl -n $namespace get secret packs-tls -o 'jsonpath={.data.tls\.crt}' | base64 -d >"$work/ca.crt"
started=$(date +%s)
# A foreign cluster may have no load balancer: there the registry is reached by kubectl port-forward.
kubectl kustomize config/samples |
  if [ -n "$local_cluster" ]; then cat; else sed 's/type: LoadBalancer/type: ClusterIP/'; fi |
  kubectl -n $namespace apply --server-side -f - | sed 's/^/    /'
# An operator that was upgraded just now first rolls its registries to the new image.
{ kubectl -n $namespace wait packregistry/packs --for=jsonpath='{.status.image}'="$registry_image" --timeout=2m &&
  kubectl -n $namespace rollout status deployment/packs --timeout=2m &&
  kubectl -n $namespace wait packregistry/packs --for=condition=Ready --timeout=2m; } >/dev/null ||
  { kubectl -n $namespace describe packregistry packs >&2; fail "the PackRegistry did not become ready"; }
show "Ready=True after $(($(date +%s) - started)) s"
kubectl -n $namespace get packregistry | sed 's/^/    /'

if [ -z "$local_cluster" ]; then
  port=${FORWARD_PORT:-8443}
  "$kubectl" -n $namespace port-forward service/packs "$port:443" >/dev/null &
  forward_pid=$!
fi
server=localhost:$port
[ "$port" != 443 ] || server=localhost
url=https://$server

# curl reads the password from a file, so that it is no argument that others could see.
(umask 077 && printf 'user = "%s:%s"\n' $user $password >"$work/curlrc")
fetch() { curl -sSf --noproxy '*' --cacert "$work/ca.crt" -K "$work/curlrc" "$@"; }

step "Pushing a pack"
for _ in $(seq 50); do
  curl -sf --noproxy '*' --cacert "$work/ca.crt" "$url/health" >/dev/null && break
  sleep 0.2
done
show "\$ packctl registry login $server --username $user"
login() { printf '%s' $password | bin/packctl --home "$work/packctl" --ca-file "$work/ca.crt" registry login $server --username $user --password-stdin --default 2>&1; }
# Where the users have just changed, the running registry needs a moment to see it.
for try in $(seq 50); do
  said=$(login) && break
  [ "$try" != 50 ] || fail "$said"
  sleep 0.2
done
echo "$said" | sed 's/^/    /'
show "\$ packctl pack push examples/packs/hello"
bin/packctl --home "$work/packctl" --ca-file "$work/ca.crt" pack push examples/packs/hello | tee "$work/push" | sed 's/^/    /'

step "Reading it back over HTTPS"
show "$url/health: $(curl -sSf --noproxy '*' --cacert "$work/ca.crt" "$url/health")"
catalog=$(fetch "$url/v1/_catalog")
show "$url/v1/_catalog: $catalog"
case $catalog in *'"hello"'*) ;; *) fail "the catalog lacks the pack" ;; esac
fetch "$url/v1/hello/manifests/1.0.0" -o "$work/manifest.json"
pushed=$(awk '$1 == "digest" {print $2}' "$work/push")
read_back=sha256:$(sha256 "$work/manifest.json")
show "$url/v1/hello/manifests/1.0.0: $read_back"
[ "$pushed" = "$read_back" ] || fail "the manifest was pushed as $pushed"
archive=$(awk '$1 == "archive" {print $2}' "$work/push")
fetch "$url/v1/hello/blobs/$archive" -o "$work/hello-1.0.0.tar.gz"
read_back=sha256:$(sha256 "$work/hello-1.0.0.tar.gz")
show "$url/v1/hello/blobs/$archive: $(stat -c %s "$work/hello-1.0.0.tar.gz" 2>/dev/null || wc -c <"$work/hello-1.0.0.tar.gz") bytes"
[ "$archive" = "$read_back" ] || fail "the archive was pushed as $archive, and read back as $read_back"
tar -xzOf "$work/hello-1.0.0.tar.gz" hello-1.0.0/charts/hello-1.0.0.tgz | cmp - examples/packs/hello/charts/hello-1.0.0.tgz
show "the chart in it is the one that was pushed, byte for byte"

step "Done. To go on:"
show "export KUBECONFIG=$KUBECONFIG"
show "$kubectl -n $namespace get packregistry packs -o wide"
show "$kubectl explain packregistry.spec"
[ -n "$local_cluster" ] || show "$kubectl -n $namespace port-forward service/packs $port:443"
show "curl --cacert $work/ca.crt -u $user $url/v1/_catalog        # the password is $password"
show "bin/packctl --home $work/packctl --ca-file $work/ca.crt pack ls"
[ -z "$local_cluster" ] || show "make demo-down                                              # stops everything and leaves nothing"
show "$url/ui/    shows the packs in a browser; log in as ${user%%:*}, with the password $password"

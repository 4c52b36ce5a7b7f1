#!/usr/bin/env bash
# Publishes what `make release` left in dist/: images by digest, signatures of those digests and of the checksums, and last the release,
# which is a draft until everything about it was checked. What exists already is never replaced.
#
#   hack/publish.sh check VERSION IMAGES
#   hack/publish.sh publish VERSION IMAGES      TAG and IDENTITY say who signs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=${1:?} version=${2:?} images=${3:?}
crane=$(hack/tool.sh crane)/crane
[ -z "${REGISTRY_USER:-}" ] || printenv GH_TOKEN | "$crane" auth login "${images%%/*}" --username "$REGISTRY_USER" --password-stdin

if [ "$what" = check ]; then
  if answer=$(gh release view "v$version" 2>&1); then
    echo "v$version is released already: choose another version" >&2
    exit 1
  fi
  [[ $answer == *"release not found"* ]] || { echo "whether v$version exists is not known: $answer" >&2; exit 1; }
  for name in registry operator; do
    if answer=$("$crane" digest "$images/$name:$version" 2>&1); then
      echo "$images/$name:$version exists already: choose another version" >&2
      exit 1
    fi
    # A package that was never pushed may not even be looked for.
    [[ $answer =~ MANIFEST_UNKNOWN|NAME_UNKNOWN|DENIED|404 ]] || { echo "whether $images/$name:$version exists is not known: $answer" >&2; exit 1; }
  done
  exit
fi

issuer=https://token.actions.githubusercontent.com
trust=(--certificate-identity "${IDENTITY:?}" --certificate-oidc-issuer "$issuer")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin/release verify dist
for name in registry operator; do
  reference=$(bin/image push "dist/${name}_${version}_image.oci.tar" "$images/$name:$version")
  grep -qF "$reference" dist/install.yaml || { echo "$reference is not what install.yaml names" >&2; exit 1; }
  cosign sign --yes --recursive "$reference"
  cosign verify "${trust[@]}" "$reference" >/dev/null
  "$crane" validate --remote "$reference"
done
cosign sign-blob --yes --bundle "$work/checksums.txt.sigstore.json" dist/checksums.txt
gh release create "${TAG:?}" --draft --verify-tag --title "$version" --notes "See CHANGELOG.md." dist/* "$work/checksums.txt.sigstore.json"
gh release download "$TAG" --dir "$work/published"
cosign verify-blob "${trust[@]}" --bundle "$work/published/checksums.txt.sigstore.json" "$work/published/checksums.txt"
bin/release verify "$work/published"
gh release edit "$TAG" --draft=false

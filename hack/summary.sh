#!/usr/bin/env bash
# Sums up the test runs whose JSON output is given: the last line says how many tests passed and failed.
set -euo pipefail
count() { cat "$@" | grep -c "\"Action\":\"$action\".*\"Test\":" || true; }
action=pass; passed=$(count "$@")
action=fail; failed=$(count "$@")
action=skip; skipped=$(count "$@")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

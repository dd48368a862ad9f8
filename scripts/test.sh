#!/usr/bin/env bash
# From a fresh clone to tested: installs what is missing, builds with sanitizers and runs all tests (make test).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
exec make test

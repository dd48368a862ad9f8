#!/usr/bin/env bash
# Measures speed and memory against libllama (`infoflow bench`). Arguments go to it.
# Environment: BUILD (default build), MODEL (default SmolLM2-135M-Instruct, fetched; too small to stand for the models one would use).
set -euo pipefail
cd "$(dirname "$0")/.."
model=${MODEL:-}
if [ -z "$model" ]; then model=$(scripts/fetch-model.sh | tail -n 1); fi
exec "${BUILD:-build}/infoflow" bench -m "$model" "$@"

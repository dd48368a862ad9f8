#!/usr/bin/env bash
# Runs the benchmark of time to first token and memory against libllama's full prefill, all in one run (bench/bench_ttft.c). Arguments go to it.
# Environment: BUILD (default build), MODEL (default SmolLM2-135M-Instruct, fetched; too small to stand for the models one would use).
set -euo pipefail
cd "$(dirname "$0")/.."
model=${MODEL:-}
if [ -z "$model" ]; then model=$(scripts/fetch-model.sh | tail -n 1); fi
exec "${BUILD:-build}/bench_ttft" -m "$model" "$@"

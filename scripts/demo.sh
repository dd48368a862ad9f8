#!/usr/bin/env bash
# Shows what infoflow does, from a fresh clone: installs and builds what is missing, prefills the example documents into a store of their own, asks questions over all of them, once with
# InfoFlow KV and once with full prefill, and prints answers and time to first token side by side.
# Environment: BUILD (default build), MODEL (default SmolLM2-135M-Instruct, fetched), STORE (default: beside the build, kept between runs),
# QUESTIONS (a file, a question a line).
set -euo pipefail
cd "$(dirname "$0")/.."
infoflow=${BUILD:-build}/infoflow
if [ ! -x "$infoflow" ]; then
    scripts/setup.sh build
    make "BUILD=${BUILD:-build}" all
fi
store=${STORE:-${BUILD:-build}/demo-store}
documents=examples/documents
questions=${QUESTIONS:-examples/questions.txt}

model=${MODEL:-}
if [ -z "$model" ]; then
    model=$(scripts/fetch-model.sh | tail -n 1)
    note="SmolLM2 has 135 million parameters: it shows the speed, and often answers wrongly by either method. MODEL=FILE.gguf make demo asks another."
fi

echo "Prefilling $(find "$documents" -name '*.txt' | wc -l) documents into $store (a second run finds them there):"
"$infoflow" ingest --no-profile -m "$model" -s "$store" "$documents"
echo

answers=$(mktemp -d)
trap 'rm -rf "$answers"' EXIT
n=0
while IFS= read -r question; do
    n=$((n + 1))
    for method in infoflow full; do
        "$infoflow" ask --no-profile -m "$model" -s "$store" -q "$question" --method "$method" --max-tokens 40 --json "$documents" </dev/null \
            >"$answers/$n.$method.json"
    done
    python3 scripts/demo_table.py "$answers/$n.infoflow.json" "$answers/$n.full.json"
done <"$questions"
python3 scripts/demo_table.py --summary "$answers"/*.json
if [ -n "${note:-}" ]; then echo "$note"; fi

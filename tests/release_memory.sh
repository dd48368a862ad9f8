#!/usr/bin/env bash
# Too little memory: at every limit on the address space there is an answer, or a message and status 1; nothing ends by a signal.
# Over the build without sanitizers, which take terabytes of address space. Usage: release_memory.sh BUILD
set -euo pipefail
bin=$1/infoflow
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "release_memory: $*" >&2; cat "$work/err" >&2; exit 1; }
cd "$work"
export HOME=$work GGML_NO_BACKTRACE=1
unset INFOFLOW_MODEL INFOFLOW_STORE XDG_CACHE_HOME XDG_CONFIG_HOME
ulimit -c 0
for _ in $(seq 12); do printf 'The mill of Varn was built in 1731 by Otto Krell. The weir of Holm was built in 1790 by Anna Falk.\n'; done >doc.txt

# limited KIB ARGUMENT...: what the command makes of a limit; its status in $status.
limited() {
    local kib=$1
    shift
    status=0
    (ulimit -v "$kib"; exec "$bin" "$@") >out 2>err || status=$?
    case $status in
    0) ;;
    1) grep -q '^infoflow: ' err || fail "no message with $kib KiB: infoflow $*" ;;
    *) fail "status $status with $kib KiB: infoflow $*" ;;
    esac
}

# sweep STEP ARGUMENT...: from nothing up to the first limits at which it works, in steps of so many MiB.
sweep() {
    local step=$1 mib=$first n_good=0
    shift
    while [ $n_good -lt 3 ]; do
        limited $((mib * 1024)) "$@"
        [ $status != 0 ] || n_good=$((n_good + 1))
        mib=$((mib + step))
        [ $mib -lt 2000 ] || fail "no answer with $mib MiB: infoflow $*"
    done
    echo "release_memory: works with $((mib - step)) MiB: infoflow $1"
}

# Of a program that a caller lives in, not only of this command: the loader needs what it needs, so the least limits may end it by 127.
first=$(for mib in $(seq 8 4 200); do (ulimit -v $((mib * 1024)); "$bin" --version) >/dev/null 2>&1 && echo "$mib" && break; done)
[ -n "$first" ] || fail "the command does not start with 200 MiB"

ask=(-t 2 --quiet -n 2 -q 'Who built the mill?' --no-store doc.txt)
sweep 6 ask -m "$INFOFLOW_TEST_MODELS/llama.gguf" "${ask[@]}"
sweep 14 ask -m "$INFOFLOW_SMOLLM2" "${ask[@]}"
sweep 20 ask -m "$INFOFLOW_SMOLLM2" --no-mmap --method full "${ask[@]}"
sweep 40 learn -m "$INFOFLOW_TEST_MODELS/llama.gguf" -t 1 --quiet --tokens 1024 --chunk 64 --no-store -o correction.gguf doc.txt

# Threads that cannot be started.
limited $((700 * 1024)) ask -m "$INFOFLOW_TEST_MODELS/llama.gguf" -t 400 --quiet -q 'Who?' --no-store doc.txt
[ $status = 1 ] && grep -q 'of 400 threads' err || fail "400 threads in 700 MiB: status $status"

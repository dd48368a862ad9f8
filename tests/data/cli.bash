# cli.bash - what the scripts over the command share: a directory of their own, and checks that say what they saw.
set -eu -o pipefail
bin=$INFOFLOW_BIN
models=$INFOFLOW_TEST_MODELS
python=${INFOFLOW_PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
# Nothing of the user's: neither variables nor a store nor a profile.
unset INFOFLOW_MODEL INFOFLOW_STORE XDG_CACHE_HOME XDG_CONFIG_HOME
export HOME=$tmp

fail() {
    echo "FAILED: $*" >&2
    for f in out err; do [ -f "$tmp/$f" ] && { echo "--- $f" >&2; head -c 3000 "$tmp/$f" >&2; }; done
    exit 1
}

# run STATUS ARGUMENT...: runs the command; standard output in out, standard error in err. Standard input is $stdin, else empty.
stdin=/dev/null
run() {
    local want=$1 got=0
    shift
    "$bin" "$@" >"$tmp/out" 2>"$tmp/err" <"$stdin" || got=$?
    [ "$got" = "$want" ] || fail "status $got instead of $want from: infoflow $*"
}

# says PATTERN: standard error has it; prints PATTERN: standard output has it (extended regular expressions).
says() { grep -qE -- "$1" "$tmp/err" || fail "no '$1' on standard error"; }
prints() { grep -qE -- "$1" "$tmp/out" || fail "no '$1' on standard output"; }

# json FILE EXPRESSION...: each Python expression over d, the object of the file (or the list of objects of a .jsonl file), is true.
json() {
    "$python" - "$@" <<'P' || fail "JSON is not as it should be"
import json, math, sys
path = sys.argv[1]
with open(path, encoding="utf-8") as f:
    d = [json.loads(line) for line in f] if path.endswith(".jsonl") else json.load(f)
for expression in sys.argv[2:]:
    if not eval(expression):
        print("not true:", expression, file=sys.stderr)
        sys.exit(1)
P
}

# value FILE EXPRESSION: prints it.
value() { "$python" -c 'import json,sys; d=json.load(open(sys.argv[1], encoding="utf-8")); print(eval(sys.argv[2]))' "$1" "$2"; }

# words N SEED: N words of text, in sentences and paragraphs, the same for the same seed.
words() {
    awk -v n="$1" -v s="$2" 'BEGIN { srand(s); split("the sea a ship bright harbour went over old stone to light keeper and river of north wind small house", w, " ");
        for (i = 1; i <= n; i++) printf "%s%s", w[int(rand() * 20) + 1], i % 60 == 0 ? ".\n\n" : i % 12 == 0 ? ". " : " "; print "" }'
}

# odd_model FILE: a model whose tokenizer refuses a number of more than 10,000 digits, and whose keys of a Z do not fit f16.
odd_model() {
    PYTHONDONTWRITEBYTECODE=1 "$python" - "$INFOFLOW_SOURCE/tests/reference" "$1" <<'P' || fail "no model $1"
import dataclasses, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import make_models
sound = make_models.tensors_of
def odd(spec):
    tensors = sound(spec)
    tensors["token_embd.weight"][:, 0] = 0
    tensors["token_embd.weight"][ord("Z"), 0] = 1
    tensors["blk.0.attn_k.weight"][:, 0] = 1e7
    return tensors
make_models.tensors_of = odd
spec = next(s for s in make_models.SPECS if s.name == "llama-untied")
make_models.write_model(dataclasses.replace(spec, pre="superbpe"), Path(sys.argv[2]))
P
}

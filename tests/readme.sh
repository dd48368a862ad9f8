#!/usr/bin/env bash
# Runs the shell commands of README.md as they are printed, in order, in a copy of the tree that has its build already.
# Usage: readme.sh BUILD
# A block of commands is fenced as ```sh. One with a line `<!-- readme.sh does not run this: REASON -->` right before it is passed over.
set -euo pipefail
build=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "readme: $*" >&2; exit 1; }

# commands MARKDOWN: the lines to run, and how many blocks were run, were passed over, and had no language.
cat >"$work/commands.awk" <<'AWK'
/^```/ && fenced { fenced = 0; shell = 0; next }
/^```/ {
    fenced = 1
    if ($0 == "```") { unnamed++ }
    if ($0 == "```sh" && passed) { n_passed++ } else if ($0 == "```sh") { shell = 1; n_run++ }
}
shell && !/^```/ { print }
{ passed = /^<!-- readme\.sh does not run this: .+ -->$/ || (passed && /^$/) }
END { print n_run + 0, n_passed + 0, unnamed + 0 >counts }
AWK
commands() { awk -v counts="$work/counts" -f "$work/commands.awk" "$1"; }

# The rules hold for a text of ours before they are used on the README.
printf '%s\n' 'text' '```sh' 'one' '```' '<!-- readme.sh does not run this: why -->' '```sh' 'two' '```' '```c' 'three' '```' '```' 'four' '```' \
    '<!-- readme.sh does not run this: why -->' 'text' '```sh' 'five' '```' >"$work/rules.md"
[ "$(commands "$work/rules.md" | tr '\n' ' ')" = "one five " ] || fail "the rules of what is run do not hold: $(commands "$work/rules.md")"
[ "$(cat "$work/counts")" = "2 1 1" ] || fail "the blocks are counted wrongly: $(cat "$work/counts")"

commands "$INFOFLOW_SOURCE/README.md" >"$work/commands"
read -r n_run n_passed n_unnamed <"$work/counts"
[ "$n_run" -gt 0 ] || fail "README.md has no commands"
[ "$n_unnamed" -eq 0 ] || fail "README.md has $n_unnamed blocks without a language: commands are fenced as \`\`\`sh, other text as \`\`\`text"
[ "$n_passed" -le 1 ] || fail "README.md marks $n_passed blocks as not to be run: one, the build, is enough"
for command in 'infoflow ingest' 'infoflow ask' 'infoflow chat'; do
    grep -q "$command" "$work/commands" || fail "no command of README.md is '$command'"
done
[ "$(wc -l <"$INFOFLOW_SOURCE/README.md")" -le 120 ] || fail "README.md has more than 120 lines"

# A clone after the build: nothing else of this machine's user is seen or written to.
mkdir -p "$work/clone/build" "$work/home"
cp -R "$INFOFLOW_SOURCE/examples" "$INFOFLOW_SOURCE/scripts" "$work/clone/"
ln -s "$build/infoflow" "$work/clone/build/infoflow"
unset INFOFLOW_MODEL INFOFLOW_STORE
export XDG_CACHE_HOME=$work/home/cache XDG_CONFIG_HOME=$work/home/config INFOFLOW_MODELS
INFOFLOW_MODELS=$(dirname "$INFOFLOW_SMOLLM2")
cd "$work/clone"
bash -euo pipefail -x "$work/commands" </dev/null >"$work/out.txt" 2>"$work/messages.txt" ||
    { tail -n 20 "$work/messages.txt" >&2; fail "a command of README.md failed, the last one above with a +"; }

# They did what the text says.
[ -s answer.html ] || fail "the page of --html is not there"
[ -d "$XDG_CACHE_HOME/infoflow/store/chunks" ] || fail "the store is not where README.md says"
grep -q '"answer"' "$work/out.txt" || fail "--json printed no answer"
grep -q 'ferry-auk.txt' "$work/out.txt" || fail "the list of the store does not name a document"
echo "readme: $(grep -c . "$work/commands") lines of README.md run"

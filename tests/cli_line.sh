#!/usr/bin/env bash
# Chat on a terminal: line editing, history, Ctrl-C and Ctrl-D (tests/data/chat_terminal.py has what is typed).
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf
words 60 1 >a.txt
"$python" "$INFOFLOW_SOURCE/tests/data/chat_terminal.py" "$bin" "${INFOFLOW_LIBEDIT:-0}" >out 2>err || fail "see above"

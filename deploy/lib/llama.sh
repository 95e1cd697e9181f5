# Sourced by deploy/quickstart and by tests that need llama.cpp: finds its programs, or makes a private tree of them.
# shellcheck shell=bash

# The builds of llama.cpp that Caravan's tests ran on.
llama_tested_first=11669
llama_tested_last=11669

llama_is_in() { [ -x "$1/llama-server" ] && { [ -x "$1/rpc-server" ] || [ -x "$1/ggml-rpc-server" ]; }; }

# llama_find LOG: prints the folder of llama-server and rpc-server: $LLAMA_DIR, one in PATH, else that of a private tree
# of Debian testing's packages, which is made on first use. Returns 1 and says why on stderr; LOG has apt's words.
llama_find() {
    local found tree here
    if [ -n "${LLAMA_DIR:-}" ]; then
        llama_is_in "$LLAMA_DIR" && readlink -f "$LLAMA_DIR" && return 0
        echo "LLAMA_DIR=$LLAMA_DIR holds no llama-server with an rpc-server beside it" >&2
        return 1
    fi
    found=$(command -v llama-server) && found=$(dirname "$(readlink -f "$found")")
    if [ -n "$found" ] && llama_is_in "$found"; then
        echo "$found"
        return 0
    fi
    here=$(dirname "${BASH_SOURCE[0]}")
    tree=${XDG_CACHE_HOME:-${HOME:-$here/../../build}/.cache}/caravan/llama.cpp
    mkdir -p "$tree" && tree=$(readlink -f "$tree") && "$here/../install-llamacpp" "$tree" >"$1" 2>&1 </dev/null ||
        { tail -n 3 "$1" >&2 && return 1; }
    echo "$tree/bin"
}

# llama_build DIR: its number, such as 11669; nothing where it does not say one
llama_build() {
    "$1/llama-server" --version 2>&1 |
        sed -nE 's/^version:.*build ([0-9]+).*/\1/p; s/^version: ([0-9]+) \(.*/\1/p' | head -n 1
}

# llama_is_tested BUILD
llama_is_tested() { [ -n "$1" ] && [ "$1" -ge $llama_tested_first ] && [ "$1" -le $llama_tested_last ]; }

# Sourced by tests that drive a browser: Debian's Chromium, by playwright-core out of tests/web (npm_modules web BUILD).
# shellcheck shell=bash

# Prints where Chromium is.
web_browser() { command -v chromium || { echo "there is no chromium: apt-get install chromium" >&2 && return 1; }; }

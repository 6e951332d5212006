#!/bin/sh
# Succeeds if Go's C compiler works and can link against the C library. The race
# detector needs both, so a compiler without headers is not enough.
cc=$(go env CC) && command -v "${cc%% *}" >/dev/null 2>&1 || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
printf '#include <pthread.h>\n#include <stdlib.h>\nint main(void) { return 0; }\n' >"$dir/a.c"
# shellcheck disable=SC2086 # CC may be a command with arguments
$cc "$dir/a.c" -o "$dir/a.out" >/dev/null 2>&1

#!/bin/sh
# Prints -race where the race detector can be built. Elsewhere it prints nothing
# and says so; with CI=true that is an error.
if [ "$(go env CGO_ENABLED)" = 1 ] && "$(dirname "$0")/cc-works.sh"; then
	echo -race
	exit 0
fi
echo "no C compiler that works (or CGO_ENABLED=0): the tests run without the race detector" >&2
[ "${CI:-}" != true ]

#!/bin/sh
# Prints -race if the race detector can be built. Otherwise it prints only a warning
# on stderr. With CI=true that is an error.
if [ "$(go env CGO_ENABLED)" = 1 ] && "$(dirname "$0")/cc-works.sh"; then
	echo -race
	exit 0
fi
echo "no working C compiler (or CGO_ENABLED=0): the tests run without the race detector" >&2
[ "${CI:-}" != true ]

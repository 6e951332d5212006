#!/bin/sh
# Runs each fuzz function of the tree for a time: the only argument, in the form of
# go test -fuzztime, or 5s. Each function has one worker. As many functions run at
# the same time as there are processors. A package is built once for all its
# functions.
#
# By default a worker takes up to a minute to minimize an interesting input, and
# finds nothing meanwhile. This script limits minimization to 100 calls.
set -u
time=${1:-5s}
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
lanes=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || lanes=1
cache=$(go env GOCACHE) || exit 1

# build DIRECTORY: builds the tests of its package, unless that is done.
build() {
	bin=$dir/$(echo "$1" | tr / _)
	[ -e "$bin" ] && return
	(cd "$1" && go test -vet=off -c -fuzz=Fuzz -o "$bin" .)
}

# fuzz DIRECTORY FUNCTION
fuzz() {
	log=$dir/$2.log
	package=$(cd "$1" && go list .)
	from=$(date +%s)
	if (cd "$1" && "$dir/$(echo "$1" | tr / _)" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$time" \
		-test.parallel 1 -test.fuzzminimizetime 100x -test.fuzzcachedir "$cache/fuzz/$package") >"$log" 2>&1 </dev/null; then
		end="$(tail -n 2 "$log")
ok  	$package	$(($(date +%s) - from))s"
	elif grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"; then
		# go.dev/issue/75804, fixed in Go 1.27: Go sometimes reports the end of
		# -fuzztime as a failure. Such a report names no input.
		end="fuzz: nothing found (Go reported the end of the time as a failure: go.dev/issue/75804)"
	else
		end=$(cat "$log")
		echo "$2" >>"$dir/failed"
	fi
	printf 'fuzz: %s %s for %s\n%s\n' "$1" "$2" "$time" "$end"
}

find . -name '*_test.go' -not -path '*/testdata/*' -not -path './.*' \
	-exec grep -HoE '^func Fuzz[A-Za-z0-9_]*' {} + | sort | sed 's|/[^/]*:func | |' >"$dir/functions"
while read -r package name; do
	build "$package" || exit 1
done <"$dir/functions"
lane=0
while [ $lane -lt "$lanes" ]; do
	awk "NR % $lanes == $lane" "$dir/functions" | while read -r package name; do
		[ -d "$dir" ] || exit # interrupted
		fuzz "$package" "$name"
	done &
	lane=$((lane + 1))
done
wait

[ -e "$dir/failed" ] || exit 0
# shellcheck disable=SC2046 # the names, in one line
echo "fuzz: failed:" $(cat "$dir/failed") "(the input is in the package's testdata/fuzz: commit it with the fix)"
exit 1

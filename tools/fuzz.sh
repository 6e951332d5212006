#!/bin/sh
# Runs each fuzz function of the tree, one after the other, for the time given
# as the only argument (as go test -fuzztime takes it; 5s by default).
set -u
time=${1:-5s}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
failed=

# fuzz DIRECTORY FUNCTION
fuzz() {
	echo "fuzz: $1 $2 for $time"
	if (cd "$1" && go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" .) >"$log" 2>&1 </dev/null; then
		tail -n 3 "$log"
	elif grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"; then
		# go.dev/issue/75804, mended in Go 1.27: the end of -fuzztime itself is at
		# times taken for a failure. It names no input, because there is none.
		echo "fuzz: $2: nothing found (Go reported the end of the time as a failure: go.dev/issue/75804)"
	else
		cat "$log"
		failed="$failed $2"
	fi
}

cd "$(dirname "$0")/.." || exit 1
functions=$(find . -name '*_test.go' -not -path '*/testdata/*' -not -path './.*' \
	-exec grep -HoE '^func Fuzz[A-Za-z0-9_]*' {} + | sort | sed 's/:func / /')
while read -r file name; do
	[ -n "$name" ] && fuzz "$(dirname "$file")" "$name"
done <<LIST
$functions
LIST

[ -z "$failed" ] && exit 0
echo "fuzz: failed:$failed (the input is in the package's testdata/fuzz: keep it with the mend)"
exit 1

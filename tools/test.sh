#!/bin/sh
# Runs the steps of make test, and prints where the time went: the seconds of each
# step, and the slowest tests. The only argument is the make command.
#
# Tests wait at times, and what make lint does is nothing but work. So it runs beside
# the other steps, with a low priority: it takes the processor when no test needs it.
# Its output comes when it has ended. If setup or programs fails, nothing else runs;
# after another step that fails the rest still runs, and one run tells everything.
set -u
make=$1
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d) || exit 1
lint=
trap 'rm -rf "$dir"' EXIT
trap '[ -z "$lint" ] || kill "$lint"; exit 130' INT
trap '[ -z "$lint" ] || kill "$lint"; exit 143' TERM
TIMES=$dir/tests
export TIMES
: >"$dir/steps" && : >"$dir/failed" && : >"$TIMES" || exit 1

# step NAME [COMMAND...]: makes NAME, with a command before make, and notes its seconds.
step() {
	name=$1
	shift
	from=$(date +%s)
	"$@" "$make" --no-print-directory "$name"
	status=$?
	echo "$(($(date +%s) - from)) $name" >>"$dir/steps"
	[ $status = 0 ] || echo "$name" >>"$dir/failed"
	return $status
}

report() {
	echo "== where the time went"
	# shellcheck disable=SC2046 # two words a line
	printf '%8s s  %s\n' $(cat "$dir/steps") "$(($(date +%s) - begin))" "in all (lint is beside the others)"
	echo "the ten slowest tests, without their subtests:"
	sort -rn "$TIMES" | head -n 10 | while read -r seconds package name; do
		printf '%8s s  %s %s\n' "$seconds" "${package#*/*/}" "$name"
	done
	[ -s "$dir/failed" ] || return 0
	# shellcheck disable=SC2046 # the names, in one line
	echo "failed:" $(cat "$dir/failed")
	return 1
}

begin=$(date +%s)
if step setup && step programs; then
	step lint nice -n 10 >"$dir/lint" 2>&1 &
	lint=$!
	for name in unit frameworks fuzz; do
		step $name env
	done
	wait $lint
	lint=
	cat "$dir/lint"
fi
report

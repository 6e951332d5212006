#!/bin/sh
# Runs the steps of make test. At the end it prints the seconds of each step and the
# slowest tests. The only argument is the make command.
#
# make lint runs at the same time as the other steps, with a low priority: it uses the
# processor while tests wait. Its output comes at its end. If setup or programs fails,
# nothing else runs. If another step fails, the others still run, so that one run
# shows all failures.
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

# step NAME [COMMAND...]: runs make NAME through COMMAND, and notes the seconds.
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
	printf '%8s s  %s\n' $(cat "$dir/steps") "$(($(date +%s) - begin))" "in all (lint runs beside the others)"
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
	for name in unit power frameworks fuzz; do
		step $name env
	done
	wait $lint
	lint=
	cat "$dir/lint"
fi
report

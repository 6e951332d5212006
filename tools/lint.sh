#!/bin/sh
# Checks that only report: go vet for three systems and staticcheck, the two side
# by side, since neither keeps two cores busy by itself. The arguments are the
# directories of the nested modules.
#
# On other systems than this one the example with the database is left out: its
# own code is the same everywhere, and compiling a database twice more takes
# longer than all the rest.
set -u
cd "$(dirname "$0")/.." || exit 1
staticcheck="go tool -modfile=$PWD/tools/go.mod staticcheck"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

vets() {
	echo "== go vet"
	go vet ./... || return
	for os in linux darwin windows; do
		[ "$os" = "$(go env GOOS)" ] && continue
		echo "== go vet: $os"
		# shellcheck disable=SC2046 # a list of packages
		GOOS=$os go vet $(go list ./... | grep -v /examples/notifications-sql) || return
	done
	for dir; do
		echo "== go vet: $dir"
		(cd "$dir" && go vet ./...) || return
	done
}

checks() {
	echo "== staticcheck"
	$staticcheck ./... || return
	for dir; do
		echo "== staticcheck: $dir"
		# Deprecated middlewares are tested there on purpose: people have them.
		(cd "$dir" && $staticcheck -checks inherit,-SA1019 ./...) || return
	done
}

vets "$@" >"$log" 2>&1 &
vets_pid=$!
checks "$@"
checks_status=$?
wait $vets_pid
vets_status=$?
cat "$log"
[ $checks_status = 0 ] && [ $vets_status = 0 ]

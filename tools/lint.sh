#!/bin/sh
# Checks that only report: go vet for three systems and staticcheck, the two side
# by side, since neither keeps two cores busy by itself. The arguments are the build
# tags of the nested modules, and their directories.
#
# On other systems than this one the example with the database is left out: its
# own code is the same everywhere, and compiling a database twice more takes
# longer than all the rest. What is compiled for them alone is not optimized, which
# takes less time and tells go vet the same.
#
# Nothing here has cgo code. Without it the packages of this system are those that
# programs are built from, and are compiled once.
set -u
CGO_ENABLED=0
export CGO_ENABLED
tags=$1
shift
cd "$(dirname "$0")/.." || exit 1
staticcheck="go tool -modfile=$PWD/tools/go.mod staticcheck"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

vets() {
	for os in linux darwin windows; do
		[ "$os" = "$(go env GOOS)" ] && continue
		echo "== go vet: $os"
		# shellcheck disable=SC2046 # a list of packages
		GOOS=$os go vet '-gcflags=all=-N -l -dwarf=false' $(go list ./... | grep -v /examples/notifications-sql) || return
	done
	# By now staticcheck has had compiled what this needs.
	echo "== go vet"
	go vet ./... || return
	for dir; do
		echo "== go vet: $dir"
		(cd "$dir" && go vet -tags "$tags" ./...) || return
	done
}

checks() {
	echo "== staticcheck"
	$staticcheck ./... || return
	for dir; do
		echo "== staticcheck: $dir"
		# Deprecated middlewares are tested there on purpose: people have them.
		(cd "$dir" && $staticcheck -tags "$tags" -checks inherit,-SA1019 ./...) || return
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

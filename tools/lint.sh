#!/bin/sh
# Checks that only report: go vet for three systems and staticcheck, the two side
# by side, since neither keeps two cores busy by itself. The arguments are the build
# tags of the nested modules, and their directories.
#
# For other systems than this one tools/vet has the analyzers of go vet. It compiles
# nothing, and go vet would compile every dependency for each of them.
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
tmp=$(mktemp -d) || exit 1
log=$tmp/log
trap 'rm -rf "$tmp"' EXIT

vets() {
	(cd tools && go build -o "$tmp/vet" ./vet) || return
	for os in linux darwin windows; do
		[ "$os" = "$(go env GOOS)" ] && continue
		echo "== vet: $os"
		GOOS=$os "$tmp/vet" ./... || return
	done
	# By now staticcheck has had compiled what this needs.
	echo "== go vet"
	go vet ./... || return
	for module; do
		echo "== go vet: $module"
		(cd "$module" && go vet -tags "$tags" ./...) || return
	done
}

checks() {
	echo "== staticcheck"
	$staticcheck ./... || return
	for module; do
		echo "== staticcheck: $module"
		# Deprecated middlewares are tested there on purpose: people have them.
		(cd "$module" && $staticcheck -tags "$tags" -checks inherit,-SA1019 ./...) || return
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

#!/bin/sh
# Runs go vet for three systems, and staticcheck. The two run at the same time, since
# neither keeps two cores busy. The first argument is the build tags of the nested
# modules. The others are their directories.
#
# For other systems than this one, tools/vet runs the analyzers of go vet without
# compiling. go vet itself would compile every dependency for each system.
#
# The tree has no cgo code. With CGO_ENABLED=0 this system's packages are the same as
# for the programs, and are compiled only once.
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
	# By now staticcheck has compiled the packages that this needs.
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
		# These modules test deprecated middleware on purpose: people still use it.
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

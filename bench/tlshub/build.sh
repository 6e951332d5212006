#!/bin/sh
# Builds this tree's tlshub with the hub of another checkout, such as an earlier commit.
# That checkout does not need a tlshub itself.
#
# Usage: bench/tlshub/build.sh CHECKOUT PROGRAM
set -eu
tree=$(cd "$1" && pwd)
program=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp go.mod go.sum tlshub/main.go "$folder"
cd "$folder"
go mod edit -replace "example.com/tidings=$tree"
# Earlier trees have another log.
if [ -d "$tree/eventlog/jetlog" ]; then
	sed -i 's/segmentlog/jetlog/g' main.go
elif [ -d "$tree/hub/jetlog" ]; then
	sed -i 's|tidings/eventlog/segmentlog"|tidings/hub/jetlog"|; s/segmentlog/jetlog/g' main.go
fi
go build -mod=mod -o "$program" .

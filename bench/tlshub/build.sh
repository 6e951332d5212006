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
# Earlier trees have package jetlog elsewhere.
[ -d "$tree/eventlog/jetlog" ] || sed -i 's|tidings/eventlog/jetlog"|tidings/hub/jetlog"|' main.go
go build -mod=mod -o "$program" .

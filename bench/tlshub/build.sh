#!/bin/sh
# Builds this tlshub with the hub of another checkout, an earlier commit's, which need
# not have a tlshub itself.
#
# Usage: bench/tlshub/build.sh CHECKOUT PROGRAM
set -eu
tree=$(cd "$1" && pwd)
program=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp go.mod go.sum "$folder"
go mod edit -replace "example.com/tidings=$tree" "$folder/go.mod"
go build -mod=mod -modfile="$folder/go.mod" -o "$program" ./tlshub

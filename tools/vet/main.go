// Vet runs the analyzers of go vet on source alone. go vet compiles all dependencies of
// a package, which for another system takes ten times as long.
//
//	GOOS=darwin vet ./...
package main

import (
	"golang.org/x/tools/go/analysis/multichecker"
	"golang.org/x/tools/go/analysis/suite/vet"
)

func main() { multichecker.Main(vet.Suite...) }

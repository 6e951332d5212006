// Package house holds tests about the tree as a whole and nothing else: which
// package may import which, that api.txt is the API, that docs/dependencies.md
// names every dependency, and how files and packages are named and sized.
package house

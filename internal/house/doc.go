// Package house has only tests, about the tree as a whole. They check which package
// imports which, that api.txt is the API, that docs/dependencies.md names every
// dependency, and the names and sizes of packages and files.
package house

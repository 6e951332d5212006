// Package frameworks holds no code but tests: that sse.Serve and sse.Handler
// keep their promises behind the real chi, gin and echo and the middlewares
// that people put around handlers. It is a module of its own, so that none of
// them becomes a dependency of Tidings. docs/frameworks.md is its summary.
package frameworks

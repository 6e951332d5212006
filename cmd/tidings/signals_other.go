//go:build !unix

package main

import "syscall"

// dieOf does nothing: this system has no such signals.
func dieOf(syscall.Signal) {}

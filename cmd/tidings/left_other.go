//go:build !unix

package main

import "os"

// readerLeft returns when stop is closed: on this system only writing finds out that the reader
// has left.
func readerLeft(_ *os.File, stop <-chan struct{}) bool {
	<-stop
	return false
}

package main

// Functions for the tests.
var (
	KeepAlive  = keepAlive
	ParseSize  = parseSize
	FormatSize = formatSize
)

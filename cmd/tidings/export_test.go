package main

// What is tested from outside.
var (
	KeepAlive  = keepAlive
	ParseSize  = parseSize
	FormatSize = formatSize
)

package main

// Functions for the tests.
var (
	ExitAfter  = exitAfter
	KeepAlive  = keepAlive
	ParseSize  = parseSize
	FormatSize = formatSize
	WhyLate    = whyLate
)

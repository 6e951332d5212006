package main

// KeepAlive is keepAlive.
var KeepAlive = keepAlive

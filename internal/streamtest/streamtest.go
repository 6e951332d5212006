// Package streamtest helps tests to compare the streams of a hub.
package streamtest

import (
	"regexp"
	"strconv"
	"time"
)

// Epoch is the epoch of every id that Mask returns.
const Epoch = "0w3k7zq4m8tc"

// Retry stands for every time that the hub tells a client to wait before it reconnects.
const Retry = "retry: R\n"

var (
	epochs  = regexp.MustCompile(`\b0[0-9a-hjkmnp-tv-z]{11}-`)
	retries = regexp.MustCompile(`(?m)^retry: ([0-9]+)\n`)
)

// Mask returns text of a stream without what differs from run to run: each epoch is [Epoch],
// and each retry is [Retry].
func Mask(text string) string {
	return MaskRetries(epochs.ReplaceAllString(text, Epoch+"-"))
}

// MaskRetries returns text of a stream in which each retry is [Retry].
func MaskRetries(text string) string { return retries.ReplaceAllString(text, Retry) }

// Retries returns the times that a text tells a client to wait.
func Retries(text string) (all []time.Duration) {
	for _, m := range retries.FindAllStringSubmatch(text, -1) {
		ms, _ := strconv.Atoi(m[1])
		all = append(all, time.Duration(ms)*time.Millisecond)
	}
	return all
}

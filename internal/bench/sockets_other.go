//go:build !linux

package bench

// startSockets returns nil: there is no such engine here.
func startSockets(*run) engine { return nil }

//go:build !linux

package bench

// startSockets returns nil: this system does not have that engine.
func startSockets(*run) engine { return nil }

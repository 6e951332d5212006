//go:build !linux

package bench

import (
	"errors"
	"time"
)

// A process cannot be measured on this system.
type process struct{}

func newProcess(int) (*process, error) {
	return nil, errors.New("--pid: the CPU and memory of a process are measured on Linux only; leave it out")
}

func (*process) cpu() (time.Duration, error) { return 0, errors.ErrUnsupported }
func (*process) memory() (int64, error)      { return 0, errors.ErrUnsupported }

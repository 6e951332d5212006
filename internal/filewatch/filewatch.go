// Package filewatch finds out when files have changed.
package filewatch

import (
	"context"
	"os"
	"slices"
	"time"
)

// Interval is how often a watcher looks. So a change counts within a second.
const Interval = 250 * time.Millisecond

// Watch calls changed when the files have changed, and when it has looked for the first time,
// until ctx is done. It looks at each tick, and calls changed when two ticks have seen the same:
// then whoever writes the files has finished. A file that is not there is seen, too.
func Watch(ctx context.Context, ticks <-chan time.Time, files []string, changed func()) {
	var told, last []os.FileInfo
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		seen := make([]os.FileInfo, len(files)) // nil for no file
		for i, name := range files {
			seen[i], _ = os.Stat(name)
		}
		stable := slices.EqualFunc(seen, last, same)
		last = seen
		if stable && !slices.EqualFunc(seen, told, same) {
			told = seen
			changed()
		}
	}
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

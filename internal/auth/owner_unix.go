//go:build unix

package auth

import (
	"fmt"
	"os"
	"syscall"
)

// chownLike gives a new file the owner of another one, and its group if that is possible. Only root
// can give a file to another user.
func chownLike(f *os.File, other os.FileInfo) error {
	want, ok := other.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if have, ok := info.Sys().(*syscall.Stat_t); ok && have.Uid == want.Uid {
		_ = f.Chown(-1, int(want.Gid)) // which has no permissions on the file
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("the file %s would get another owner: %w", other.Name(), err)
	}
	return nil
}

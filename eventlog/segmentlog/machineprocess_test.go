//go:build unix

package segmentlog

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A process uses the files of a machine until it dies, in the middle of a call that changes
// something.
type process struct {
	m     *machine
	power bool // the power goes then, and not only the process

	// What follows is protected by m.mu.
	left  int // calls until then, or 0 for never
	after *machine
	died  chan struct{} // closed then
	full  int           // a write to a segment finds no room once in so many times, or 0 for never
}

// errDied is what calls return afterwards.
var errDied = errors.New("the process has died")

func newProcess(m *machine, power bool) *process {
	return &process{m: m, power: power, died: make(chan struct{})}
}

// arm has the process die in one of the next calls.
func (p *process) arm(left int) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.left = left
}

// end returns the machine after the death of the process, which may come now.
func (p *process) end() *machine {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.die()
	return p.after
}

// dead reports whether the process has died.
func (p *process) dead() bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.after != nil
}

// die ends the process. Callers hold m.mu.
func (p *process) die() {
	switch {
	case p.after != nil:
		return
	case p.power:
		p.after = p.m.survive()
	default:
		p.after = p.m.restart()
	}
	close(p.died)
}

// do is a call that changes something.
func (p *process) do(f func() error) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.after != nil {
		return errDied
	}
	if p.left--; p.left != 0 {
		return f()
	}
	if p.m.rnd.IntN(2) == 0 {
		_ = f()
	}
	p.die()
	return errDied
}

// look is a call that changes nothing.
func (p *process) look(f func() error) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.after != nil {
		return errDied
	}
	return f()
}

// name sets names in the folder at once. Callers hold m.mu.
func (m *machine) name(names ...naming) {
	for _, n := range names {
		if m.names[n.name] = n.file; n.file == nil {
			delete(m.names, n.name)
		}
	}
	m.steps = append(m.steps, names)
}

func (p *process) mkdir(string) error {
	return p.do(func() error {
		if p.m.made {
			return fs.ErrExist
		}
		p.m.made = true
		return nil
	})
}

func (p *process) create(name string, size int64) (made file, err error) {
	err = p.do(func() error {
		if p.m.names[name] != nil {
			return fs.ErrExist
		}
		p.m.inodes++
		n := &inode{id: p.m.inodes}
		if size > 0 {
			n.change(edit{off: size, truncate: true})
		}
		p.m.name(naming{name, n})
		made = &openInode{p, n}
		return nil
	})
	return made, err
}

func (p *process) open(name string) (opened file, err error) {
	err = p.look(func() error {
		n := p.m.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		opened = &openInode{p, n}
		return nil
	})
	return opened, err
}

func (p *process) readFile(name string) (b []byte, err error) {
	err = p.look(func() error {
		n := p.m.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		b = slices.Clone(n.data)
		return nil
	})
	return b, err
}

func (p *process) rename(from, to string) error {
	return p.do(func() error {
		n := p.m.names[from]
		if n == nil {
			return fs.ErrNotExist
		}
		p.m.name(naming{from, nil}, naming{to, n})
		return nil
	})
}

func (p *process) remove(name string) error {
	if err := p.look(func() error {
		if p.m.names[name] == nil {
			return fs.ErrNotExist
		}
		return nil
	}); err != nil {
		return err
	}
	return p.do(func() error {
		p.m.name(naming{name, nil})
		return nil
	})
}

func (p *process) list(dir string) (names []string, err error) {
	err = p.look(func() error {
		for name := range p.m.names {
			names = append(names, filepath.Base(name))
		}
		return nil
	})
	return names, err
}

func (p *process) syncDir(dir string) error {
	return p.do(func() error {
		if dir != p.m.dir {
			p.m.named = p.m.made
			return nil
		}
		p.m.synced = map[string]*inode{}
		for name, n := range p.m.names {
			p.m.synced[name] = n
		}
		p.m.steps = nil
		p.m.syncIndex(false)
		return nil
	})
}

func (p *process) free(string) (free, total int64, err error) { return 1 << 40, 1 << 40, nil }

func (p *process) same(name string, f file) (same bool, err error) {
	err = p.look(func() error {
		same = p.m.names[name] == f.(*openInode).n
		return nil
	})
	return same, err
}

// An openInode is a file that a process has open.
type openInode struct {
	p *process
	n *inode
}

func (f *openInode) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.p.do(func() error {
		w := edit{off: off, b: slices.Clone(b)}
		if f.p.full > 0 && f.p.m.isSegment(f.n) && f.p.m.rnd.IntN(f.p.full) == 0 {
			if allZero(f.n.data[off:min(off+1, int64(len(f.n.data)))]) { // what is overwritten stays whole
				w.b = w.b[:f.p.m.rnd.IntN(len(b)+1)]
				f.n.change(w)
			}
			return unix.ENOSPC
		}
		if f.p.left == 0 { // it dies: the system stops between two pages
			w.b = w.b[:min(f.p.m.rnd.IntN(len(b)/pageBytes+2)*pageBytes, len(b))]
		}
		f.n.change(w)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// isSegment reports whether a file has the name of a segment. Callers hold mu.
func (m *machine) isSegment(file *inode) bool {
	for name, n := range m.names {
		if n == file {
			return strings.HasSuffix(name, segmentSuffix)
		}
	}
	return false
}

func (f *openInode) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.p.look(func() error {
		if off < int64(len(f.n.data)) {
			n = copy(b, f.n.data[off:])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *openInode) Truncate(size int64) error {
	return f.p.do(func() error {
		f.n.change(edit{off: size, truncate: true})
		return nil
	})
}

func (f *openInode) sync() error {
	return f.p.do(func() error {
		f.n.sync()
		return nil
	})
}

func (f *openInode) size() (size int64, err error) {
	err = f.p.look(func() error {
		size = int64(len(f.n.data))
		return nil
	})
	return size, err
}

func (f *openInode) id() uint64 { return f.n.id }

func (f *openInode) Close() error { return nil }

//go:build unix

package segmentlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// A machine has a disk that loses what was not synced when the power goes. One folder is on
// it, with a log. The files of the index are on Pebble's own crashing file system. Those of the
// log are not, for it loses too little: it cannot truncate, it forgets that a page had another
// content between two syncs, it never tears a page, and it always brings back a file that was
// removed. The system writes pages back whenever it likes, so each page of a file has, after
// the power has gone, any of the contents that it had since the last sync. One write to it may
// be torn at any byte. Each name in a folder stands for any of the files that it stood for
// since the folder was synced.
type machine struct {
	mu     sync.Mutex
	rnd    *rand.Rand
	dir    string
	named  bool // the folder above it was synced
	names  map[string]*inode
	synced map[string]*inode // names, when the folder was synced
	steps  [][]naming        // since then
	inodes uint64
	boot   uint32
	index  *vfs.MemFS
}

// A naming makes a name stand for a file, or for none.
type naming struct {
	name string
	file *inode
}

// An inode is a file.
type inode struct {
	id      uint64
	data    []byte
	disk    []byte // what was synced
	changes []edit // since then
}

// An edit is a change of a file: bytes that were written, or a size.
type edit struct {
	off      int64
	b        []byte
	truncate bool // to off
}

func newMachine(rnd *rand.Rand, dir string) *machine {
	m := &machine{rnd: rnd, dir: dir, names: map[string]*inode{}, synced: map[string]*inode{}, boot: rnd.Uint32() | 1, index: vfs.NewCrashableMem()}
	m.syncIndex(true)
	return m
}

// syncIndex makes the names in the folder durable on the file system of the index, and on
// demand those of the folders above it.
func (m *machine) syncIndex(above bool) {
	if above {
		must(m.index.MkdirAll(m.dir, 0o700))
	}
	for dir := m.dir; ; dir = filepath.Dir(dir) {
		d, err := m.index.OpenDir(dir)
		must(err)
		must(errors.Join(d.Sync(), d.Close()))
		if !above || dir == "/" {
			return
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// edited applies edits to the content of a file.
func edited(data []byte, edits ...edit) []byte {
	for _, w := range edits {
		size := w.off + int64(len(w.b))
		if w.truncate && size < int64(len(data)) {
			clear(data[size:])
			data = data[:size]
		}
		if grow := size - int64(len(data)); grow > 0 {
			data = append(data, make([]byte, grow)...)
		}
		copy(data[w.off:], w.b)
	}
	return data
}

func (n *inode) change(w edit) {
	n.data = edited(n.data, w)
	n.changes = append(n.changes, w)
}

func (n *inode) sync() {
	n.disk = edited(n.disk, n.changes...)
	n.changes = nil
}

// survive returns what the disk has of a file after the power has gone. kept is how many of a
// hundred pages have what was written last.
func (n *inode) survive(rnd *rand.Rand, kept int) *inode {
	data := slices.Clone(n.disk)
	if len(n.changes) > 0 {
		size := len(n.data)
		if rnd.IntN(100) >= kept {
			size = len(n.disk)
			for _, w := range n.changes[:rnd.IntN(len(n.changes)+1)] {
				if end := int(w.off) + len(w.b); end > size || w.truncate {
					size = end
				}
			}
		}
		data = edited(data, edit{off: int64(size), truncate: true})
		for from := 0; from < size; from += pageBytes {
			page := data[from:min(from+pageBytes, size)]
			n.survivePage(rnd, kept, page, int64(from))
		}
	}
	return &inode{id: n.id, data: data, disk: slices.Clone(data)}
}

// survivePage makes a page what the disk has of it.
func (n *inode) survivePage(rnd *rand.Rand, kept int, page []byte, from int64) {
	var met []edit // the changes that meet the page, in terms of it
	for _, w := range n.changes {
		switch {
		case w.truncate && w.off < from+pageBytes:
			cut := max(w.off-from, 0)
			met = append(met, edit{off: cut, b: make([]byte, pageBytes-cut)})
		case !w.truncate && w.off < from+pageBytes && w.off+int64(len(w.b)) > from:
			b := w.b[max(from-w.off, 0):]
			off := max(w.off-from, 0)
			met = append(met, edit{off: off, b: b[:min(int64(len(b)), pageBytes-off)]})
		}
	}
	if len(met) == 0 {
		return
	}
	last := len(met)
	if rnd.IntN(100) >= kept {
		last = rnd.IntN(len(met) + 1)
	}
	put := func(w edit, n int) {
		if w.off < int64(len(page)) {
			copy(page[w.off:], w.b[:n])
		}
	}
	for _, w := range met[:last] {
		put(w, len(w.b))
	}
	if last < len(met) && rnd.IntN(4) == 0 {
		put(met[last], rnd.IntN(len(met[last].b)+1)) // torn
	}
}

// survive returns the machine after the power has gone, and come back.
func (m *machine) survive() *machine {
	next := &machine{
		rnd: m.rnd, dir: m.dir, named: m.named, names: map[string]*inode{}, synced: map[string]*inode{},
		inodes: m.inodes, boot: m.boot + 2,
	}
	// Between nothing and everything, or each page as it comes.
	kept := []int{0, 20, 50, 80, 100}[m.rnd.IntN(5)]
	next.index = m.index.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: m.rnd})
	next.syncIndex(true)
	if !m.named && m.rnd.IntN(2) == 0 {
		return next // without the folder
	}
	next.named = true
	for name, file := range m.survivingNames(kept) {
		if file != nil {
			next.names[name] = file.survive(m.rnd, kept)
			next.synced[name] = next.names[name]
		}
	}
	return next
}

// survivingNames returns the names that the disk has of the folder: as of a moment after it
// was synced, or each name as of its own.
func (m *machine) survivingNames(kept int) map[string]*inode {
	names := make(map[string]*inode, len(m.names))
	for name, file := range m.synced {
		names[name] = file
	}
	if m.rnd.IntN(2) == 0 {
		for _, step := range m.steps[:m.rnd.IntN(len(m.steps)+1)] {
			for _, n := range step {
				names[n.name] = n.file
			}
		}
		return names
	}
	files := map[string][]*inode{}
	var order []string
	for _, step := range m.steps {
		for _, n := range step {
			if files[n.name] == nil {
				files[n.name] = []*inode{m.synced[n.name]}
				order = append(order, n.name)
			}
			files[n.name] = append(files[n.name], n.file)
		}
	}
	for _, name := range order {
		all := files[name]
		names[name] = all[len(all)-1]
		if m.rnd.IntN(100) >= kept {
			names[name] = all[m.rnd.IntN(len(all))]
		}
	}
	return names
}

// restart returns the machine after a process was killed: everything written is there.
func (m *machine) restart() *machine {
	next := &machine{
		rnd: m.rnd, dir: m.dir, named: m.named, names: m.names, synced: m.synced, steps: m.steps,
		inodes: m.inodes, boot: m.boot,
	}
	next.index = m.index.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: m.rnd})
	return next
}

// holds reports whether a file of the log has a text.
func (m *machine) holds(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, file := range m.names {
		if bytes.Contains(file.data, []byte(text)) {
			return true
		}
	}
	return false
}

// A process uses the files of a machine until it dies, in the middle of a call that changes
// something.
type process struct {
	m     *machine
	power bool // the power goes then, and not only the process

	// What follows is protected by m.mu.
	left  int // calls until then, or 0 for never
	after *machine
	died  chan struct{} // closed then
	full  int           // writing a group finds no room once in so many times, or 0 for never
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
	return p.do(func() error { return nil })
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
			p.m.named = true
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

// An openInode is a file that a process has open.
type openInode struct {
	p *process
	n *inode
}

func (f *openInode) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.p.do(func() error {
		w := edit{off: off, b: slices.Clone(b)}
		if f.p.full > 0 && f.p.m.isSegment(f.n) && f.n.data[off] == 0 && f.p.m.rnd.IntN(f.p.full) == 0 {
			w.b = w.b[:f.p.m.rnd.IntN(len(b)+1)]
			f.n.change(w)
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

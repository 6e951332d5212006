//go:build unix

package segmentlog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
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
	made   bool // the folder is there
	named  bool // the folder above it was synced
	names  map[string]*inode
	synced map[string]*inode // names, when the folder was synced
	steps  [][]naming        // since then
	inodes uint64
	boot   uint32
	index  *crashDisk
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
	m := &machine{rnd: rnd, dir: dir, names: map[string]*inode{}, synced: map[string]*inode{}, boot: rnd.Uint32() | 1, index: newCrashDisk()}
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
		rnd: m.rnd, dir: m.dir, names: map[string]*inode{}, synced: map[string]*inode{},
		inodes: m.inodes, boot: m.boot + 2,
	}
	// How many of a hundred pages, and names, are what they were last.
	kept := []int{0, 20, 50, 80, 100}[m.rnd.IntN(5)]
	next.index = m.index.crash(m.rnd, kept)
	next.syncIndex(true)
	if !m.named && m.rnd.IntN(2) == 0 {
		return next // without the folder
	}
	next.made, next.named = m.made, m.made
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
		rnd: m.rnd, dir: m.dir, made: m.made, named: m.named, names: m.names, synced: m.synced, steps: m.steps,
		inodes: m.inodes, boot: m.boot,
	}
	next.index = m.index.crash(m.rnd, 100)
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

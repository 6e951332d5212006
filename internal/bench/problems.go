package bench

import "sync"

// problems keeps a description of the first problem of each kind. It may be used
// concurrently.
type problems struct {
	mu    sync.Mutex
	seen  map[string]bool
	texts []string
}

func (p *problems) note(kind, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[kind] {
		return
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[kind] = true
	p.texts = append(p.texts, text)
}

func (p *problems) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.texts
}

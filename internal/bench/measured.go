package bench

import "time"

// measured has the memory and CPU of the server's process at points of a run. It is
// empty without a process.
type measured struct {
	before, idle, after int64 // memory in bytes: without streams, with idle streams, after the messages
	from, to            time.Duration
	known               bool
	err                 error
}

// take measures the memory.
func (m *measured) take(p *process, into *int64) {
	if p == nil || m.err != nil {
		return
	}
	*into, m.err = p.memory()
}

// cpuFrom and cpuTo measure the processor time before and after the messages.
func (m *measured) cpuFrom(p *process) {
	if p != nil && m.err == nil {
		m.from, m.err = p.cpu()
	}
}

func (m *measured) cpuTo(p *process) {
	if p != nil && m.err == nil {
		m.to, m.err = p.cpu()
		m.known = m.err == nil
	}
}

// report puts the measurements into a report, if they are complete.
func (m *measured) report(rep *Report) {
	if !m.known || m.err != nil || rep.Opened == 0 {
		return
	}
	rep.Server = &ServerCost{
		CPUSeconds:   (m.to - m.from).Seconds(),
		MemoryBefore: m.before,
		MemoryIdle:   m.idle,
		MemoryAfter:  m.after,
		PerIdle:      float64(m.idle-m.before) / float64(rep.Opened),
		PerAfter:     float64(m.after-m.before) / float64(rep.Opened),
	}
	if rep.Deliveries > 0 {
		rep.Server.CPU = perUnit(m.to-m.from, rep.Deliveries)
	}
}

// perUnit returns d divided by n, in microseconds.
func perUnit(d time.Duration, n int64) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(n)
}

package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// WriteTable writes the report as text for a person.
func (rep *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("hub", "%s, topics %s*", rep.URL, rep.TopicPrefix)
	row("subscribers", "%s of %s open, on %s", grouped(rep.Opened), grouped(int64(rep.Subscribers)), counted(int64(rep.Topics), "topic", "topics"))
	load := counted(int64(rep.InFlight), "message", "messages") + " in flight"
	if rep.Rate > 0 {
		load = figure(rep.Rate) + " a second"
	}
	row("messages", "%s of %s published, %s bytes each, %s", grouped(rep.Published), grouped(int64(rep.Messages)), grouped(int64(rep.Payload)), load)
	if rep.ConnectTime > 0 {
		row("connecting", "%s connections/s; first event %s", figure(rep.Connects), rep.FirstEvent)
	}
	if rep.Duration > 0 {
		row("deliveries", "%s in %s s: %s/s, %s messages/s, %s MB/s", grouped(rep.Deliveries), figure(rep.Duration), figure(rep.DeliveriesPerS), figure(rep.MessagesPerS), figure(rep.BytesPerS/1e6))
		row("latency", "%s", rep.Latency)
		row("acknowledged", "%s", rep.Acknowledged)
	}
	if s := rep.Server; s != nil {
		if rep.Deliveries > 0 {
			row("server's CPU", "%s µs for each delivery, %s s in all", figure(s.CPU), figure(s.CPUSeconds))
		}
		row("its memory", "%s kB for each idle subscriber, %s kB after the messages; %s MB without subscribers", figure(s.PerIdle/1e3), figure(s.PerAfter/1e3), figure(float64(s.MemoryBefore)/1e6))
	}
	if rep.ClientCPU > 0 {
		row("bench's CPU", "%s µs for each delivery", figure(rep.ClientCPU))
	}
	b.WriteString("\n")
	if rep.Interrupted {
		b.WriteString("The run was interrupted. These are the results until then.\n")
	}
	wrong := rep.wrong()
	switch {
	case len(wrong) > 0:
		fmt.Fprintf(&b, "WRONG: %s.\n", strings.Join(wrong, ", "))
	case rep.Deliveries == 0:
		b.WriteString("No message was delivered.\n")
	default:
		b.WriteString("Every subscriber got every message once, in order.\n")
	}
	for _, p := range rep.Problems {
		fmt.Fprintf(&b, "  - %s\n", p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (q Quantiles) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s ms", figure(q.P50), figure(q.P99), figure(q.P999), figure(q.Max))
}

// counted returns a number with its noun, in the singular or plural.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// grouped returns a number with commas between groups of three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// figure returns a number with three digits, or all digits of a larger one.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 99.95:
		return grouped(int64(math.Round(v)))
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

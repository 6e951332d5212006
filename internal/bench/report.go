package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Report has the results of a run. docs/performance.md describes the fields of its
// JSON object.
type Report struct {
	// The settings.
	URL         string  `json:"url"`
	Topics      int     `json:"topics"`
	TopicPrefix string  `json:"topic_prefix"`
	Subscribers int     `json:"subscribers"`
	Messages    int     `json:"messages"`
	Payload     int     `json:"payload_bytes"`
	Publishers  int     `json:"publishers"`
	InFlight    int     `json:"in_flight,omitempty"`
	Rate        float64 `json:"rate_per_s,omitempty"`

	// OK means that every stream opened and stayed open, and that its subscriber
	// got every message once and in order. Also, every message was published,
	// unless the run was interrupted.
	OK          bool     `json:"ok"`
	Interrupted bool     `json:"interrupted"` // by the user
	Stalled     bool     `json:"stalled"`     // ended because nothing arrived for the timeout
	Problems    []string `json:"problems"`    // the first of each kind, in words

	// The checks. Published counts the messages that the server acknowledged,
	// Unconfirmed those that it did not. Deliveries counts the messages received,
	// each once per subscriber.
	Opened      int64 `json:"opened"`
	Failed      int64 `json:"failed_to_open"`
	Closed      int64 `json:"closed"`
	Published   int64 `json:"published"`
	Unconfirmed int64 `json:"unconfirmed"`
	Deliveries  int64 `json:"deliveries"`
	Missing     int64 `json:"missing"`
	Repeated    int64 `json:"repeated"`
	OutOfOrder  int64 `json:"out_of_order"`
	Foreign     int64 `json:"foreign"`
	Garbled     int64 `json:"garbled"`
	Gaps        int64 `json:"gaps"`

	// The measurements. ConnectTime is from the first connection to the last
	// stream's first event. Duration is from the first message to the last delivery.
	ConnectTime      float64   `json:"connect_s"`
	Connects         float64   `json:"connects_per_s"`
	FirstEvent       Quantiles `json:"first_event_ms"`
	Duration         float64   `json:"duration_s"`
	MessagesPerS     float64   `json:"messages_per_s"`
	DeliveriesPerS   float64   `json:"deliveries_per_s"`
	BytesPerS        float64   `json:"bytes_per_s"`
	BytesPerDelivery float64   `json:"bytes_per_delivery"`
	Latency          Quantiles `json:"latency_ms"`
	Acknowledged     Quantiles `json:"acknowledged_ms"`
	ClientCPU        float64   `json:"client_cpu_us_per_delivery"`

	Server *ServerCost `json:"server,omitempty"` // with --pid
}

// Quantiles are durations in milliseconds.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// A ServerCost is the CPU and memory of the server's process. Memory is the
// proportional set size.
type ServerCost struct {
	CPU          float64 `json:"cpu_us_per_delivery"`
	CPUSeconds   float64 `json:"cpu_s"`
	MemoryBefore int64   `json:"memory_before_bytes"` // no stream is open
	MemoryIdle   int64   `json:"memory_idle_bytes"`   // all are open and have been idle
	MemoryAfter  int64   `json:"memory_after_bytes"`  // all messages have been received
	PerIdle      float64 `json:"bytes_per_idle_subscriber"`
	PerAfter     float64 `json:"bytes_per_subscriber_after"`
}

func (h *histogram) quantiles() Quantiles {
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	return Quantiles{ms(h.quantile(0.5)), ms(h.quantile(0.99)), ms(h.quantile(0.999)), ms(time.Duration(h.max.Load()))}
}

func (r *run) settings(rep *Report) {
	rep.URL, rep.TopicPrefix = r.target.base, fmt.Sprintf("bench.%08x.", r.id)
	rep.Subscribers, rep.Topics, rep.Messages = r.cfg.Subscribers, r.cfg.Topics, r.cfg.Messages
	rep.Payload, rep.Publishers, rep.InFlight, rep.Rate = r.cfg.Payload, r.cfg.Publishers, r.cfg.InFlight, r.cfg.Rate
}

// connects reports on the opening of the streams. opened are the totals after it.
func (r *run) connects(rep *Report, opened total, began time.Duration) {
	rep.Opened = opened.opened
	if rep.Failed = opened.failed; !rep.Interrupted {
		rep.Failed = int64(r.cfg.Subscribers) - opened.opened
	}
	if d := (opened.lastOpen - began).Seconds(); opened.opened > 0 && d > 0 {
		rep.ConnectTime, rep.Connects = d, float64(opened.opened)/d
	}
	var first histogram
	for i := range r.tallies {
		first.merge(&r.tallies[i].firstEvent)
	}
	rep.FirstEvent = first.quantiles()
}

// results reports on the messages, after everything has stopped.
func (r *run) results(rep *Report, began time.Duration, bytesBefore int64) {
	s := sum(r.tallies)
	rep.Closed, rep.Deliveries = s.closed, s.deliveries
	rep.Repeated, rep.OutOfOrder, rep.Foreign, rep.Garbled, rep.Gaps = s.repeated, s.outOfOrder, s.foreign, s.garbled, s.gaps
	rep.Published, rep.Unconfirmed, rep.Missing = r.account()
	var latency histogram
	for i := range r.tallies {
		latency.merge(&r.tallies[i].latency)
	}
	rep.Latency, rep.Acknowledged = latency.quantiles(), r.acked.quantiles()
	if d := (s.last - began).Seconds(); s.deliveries > 0 && d > 0 {
		rep.Duration = d
		rep.MessagesPerS = float64(rep.Published) / d
		rep.DeliveriesPerS = float64(s.deliveries) / d
		rep.BytesPerS = float64(s.bytes-bytesBefore) / d
		rep.BytesPerDelivery = float64(s.bytes-bytesBefore) / float64(s.deliveries)
	}
	rep.OK = len(rep.wrong()) == 0
}

// account compares the acknowledged messages with those that each subscriber has.
func (r *run) account() (published, unconfirmed, missing int64) {
	topics := uint64(r.cfg.Topics)
	of := make([]uint64, topics) // published, by topic
	lost := map[uint32][]uint64{}
	for i := range r.publishers {
		p := &r.publishers[i]
		end := r.flow.published[i].Load()
		for t := uint64(i); t < topics && t < end; t += uint64(len(r.publishers)) {
			of[t] = (end-t-1)/topics + 1
			published += int64(of[t])
		}
		for _, m := range p.lost() {
			t := uint32(m % topics)
			lost[t] = append(lost[t], m/topics)
			unconfirmed++
		}
	}
	for i := range r.subscribers {
		s := &r.subscribers[i]
		if !s.joined {
			continue
		}
		missing += int64(of[s.topic] - s.ledger.got)
		for _, seq := range lost[s.topic] {
			if !s.ledger.has(seq) {
				missing-- // it may not be stored
			}
		}
	}
	return published - unconfirmed, unconfirmed, missing
}

// WriteJSON writes the report as one JSON object and a line end.
func (rep *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(rep)
}

// Verdict returns nil if the report is OK. Otherwise its error says in one line what
// is wrong.
func (rep *Report) Verdict() error {
	wrong := rep.wrong()
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("not every subscriber got every message once and in order: %s", strings.Join(wrong, ", "))
}

// wrong returns what is wrong, in words.
func (rep *Report) wrong() (wrong []string) {
	say := func(n int64, one, many string) {
		switch n {
		case 0:
		case 1:
			wrong = append(wrong, "1 "+one)
		default:
			wrong = append(wrong, grouped(n)+" "+many)
		}
	}
	say(rep.Failed, "stream did not open", "streams did not open")
	say(rep.Closed, "stream was closed", "streams were closed")
	say(rep.Missing, "delivery is missing", "deliveries are missing")
	say(rep.Repeated, "was repeated", "were repeated")
	say(rep.OutOfOrder, "came out of order", "came out of order")
	say(rep.Garbled, "was garbled", "were garbled")
	say(rep.Foreign, "event was foreign", "events were foreign")
	say(rep.Gaps, "gap was reported", "gaps were reported")
	if !rep.Interrupted {
		say(int64(rep.Messages)-rep.Published, "message was not published", "messages were not published")
	}
	if rep.Stalled {
		wrong = append(wrong, "nothing more has arrived")
	}
	return wrong
}

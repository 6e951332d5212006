package jetlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/gsl"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// directSource reads the store of the server in this process. A record costs half a
// microsecond. Through the server's API a record costs 3 to 20, and a wildcard search among
// many topics costs far more.
//
// The server's package exports the store's methods, but neither the store nor the fields of
// its results. directSource finds these by reflection. If a later version of the server
// looks different, storeOf returns an error, and [Open] falls back on the API.
type directSource struct {
	store server.StreamStore
	names naming
}

// storeOf returns the store of a stream.
func storeOf(srv *server.Server, stream string) (store server.StreamStore, err error) {
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, fmt.Errorf("the server's store cannot be found: %v", p)
		}
	}()
	if _, err := newStored(); err != nil {
		return nil, err
	}
	streams := reflect.ValueOf(srv.GlobalAccount()).Elem().FieldByName("js").Elem().FieldByName("streams")
	p := streams.MapIndex(reflect.ValueOf(stream))
	s, ok := reflect.NewAt(p.Type().Elem(), p.UnsafePointer()).Interface().(interface{ Store() server.StreamStore })
	if !ok {
		return nil, errors.New("the server's stream has no store")
	}
	return s.Store(), nil
}

// A stored receives a message from the store. It can be reused for the next message.
type stored struct {
	msg                                 server.StoreMsg
	subject, header, body, seq, nanosec reflect.Value
}

func newStored() (*stored, error) {
	s := new(stored)
	v := reflect.ValueOf(&s.msg).Elem()
	for _, f := range []struct {
		name string
		to   *reflect.Value
		typ  reflect.Type
	}{
		{"subj", &s.subject, reflect.TypeFor[string]()},
		{"hdr", &s.header, reflect.TypeFor[[]byte]()},
		{"msg", &s.body, reflect.TypeFor[[]byte]()},
		{"seq", &s.seq, reflect.TypeFor[uint64]()},
		{"ts", &s.nanosec, reflect.TypeFor[int64]()},
	} {
		*f.to = v.FieldByName(f.name)
		if !f.to.IsValid() || f.to.Type() != f.typ {
			return nil, fmt.Errorf("the server's stored message has no %s of type %v", f.name, f.typ)
		}
	}
	return s, nil
}

// record returns a copy of the message.
func (s *stored) record(names naming) eventlog.Record {
	r := eventlog.Record{
		Seq:   s.seq.Uint(),
		Time:  time.Unix(0, s.nanosec.Int()).UTC(),
		Topic: names.topic(s.subject.String()),
		Data:  string(s.body.Bytes()),
	}
	if header := s.header.Bytes(); len(header) > 0 {
		r.Type = typeIn(header)
	}
	return r
}

func (d *directSource) state(context.Context) (eventlog.State, error) {
	var st server.StreamState
	d.store.FastState(&st)
	return stateOf(st.Msgs, st.FirstSeq, st.LastSeq), nil
}

// stateOf returns the state of a stream with n messages. If n is 0, then First is one more
// than Last, even in a new stream.
func stateOf(n, first, last uint64) eventlog.State {
	if n == 0 {
		first = last + 1
	}
	return eventlog.State{First: first, Last: last}
}

// loaded returns the record that the store has put into s, or translates the store's error.
func (d *directSource) loaded(s *stored, err error) (eventlog.Record, error) {
	switch {
	case err == nil:
		return s.record(d.names), nil
	case errors.Is(err, server.ErrStoreClosed):
		return eventlog.Record{}, errReopening
	}
	if unreadable(err) {
		return eventlog.Record{}, fmt.Errorf("jetlog: the store cannot be read: %w", err)
	}
	return eventlog.Record{}, eventlog.ErrNotFound // a damaged record counts as missing
}

// unreadable reports whether the system failed to read a file, for example because the
// process has no descriptor left. The records in that file are not missing.
func unreadable(err error) bool {
	_, isPath := errors.AsType[*fs.PathError](err)
	_, isSystem := errors.AsType[syscall.Errno](err)
	return isPath || isSystem
}

func (d *directSource) get(_ context.Context, seq uint64) (eventlog.Record, error) {
	s, err := newStored()
	if err == nil {
		_, err = d.store.LoadMsg(seq, &s.msg)
	}
	return d.loaded(s, err)
}

func (d *directSource) next(_ context.Context, sel *selection, seq uint64) (eventlog.Record, error) {
	s, err := newStored()
	if err != nil {
		return eventlog.Record{}, err
	}
	switch {
	case sel.all:
		_, _, err = d.store.LoadNextMsg("", false, seq, &s.msg)
	case len(sel.subjects) == 1:
		_, _, err = d.store.LoadNextMsg(sel.subjects[0], !sel.filters[0].Exact(), seq, &s.msg)
	default:
		_, _, err = d.store.LoadNextMsgMulti(sublist(sel), seq, &s.msg)
	}
	return d.loaded(s, err)
}

func sublist(sel *selection) *gsl.SimpleSublist {
	sl := gsl.NewSimpleSublist()
	for _, subject := range sel.subjects {
		_ = sl.Insert(subject, struct{}{}) // fails only for an invalid subject
	}
	return sl
}

func (d *directSource) scan(ctx context.Context, seq uint64, n, maxBytes int) ([]eventlog.Record, error) {
	s, err := newStored()
	if err != nil {
		return nil, err
	}
	var records []eventlog.Record
	for size := 0; len(records) < n && size < maxBytes; seq++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, seq, err = d.store.LoadNextMsg("", false, seq, &s.msg)
		r, err := d.loaded(s, err)
		if errors.Is(err, eventlog.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
		size += len(r.Data)
	}
	return records, nil
}

func (d *directSource) last(_ context.Context, topic string) (eventlog.Record, error) {
	s, err := newStored()
	if err == nil {
		_, err = d.store.LoadLastMsg(d.names.subject(topic), &s.msg)
	}
	return d.loaded(s, err)
}

// newestTopics bounds the topics whose newest records newest asks the store for.
const newestTopics = 4096

func (d *directSource) newest(_ context.Context, sel *selection, after, upTo uint64, limit int) ([]uint64, uint64, bool, error) {
	seqs, ok, err := d.lasts(sel.subjects, newestTopics)
	seqs, through := cut(seqs, after, upTo, limit)
	return seqs, through, ok, err
}

// lasts returns the sequence number of the newest record of each matching subject, in
// ascending order. ok is false if more than most subjects match, or if the store is damaged
// and cannot tell. A most of 0 means no bound.
func (d *directSource) lasts(subjects []string, most int) (seqs []uint64, ok bool, err error) {
	seqs, err = d.store.MultiLastSeqs(subjects, 0, most)
	switch {
	case errors.Is(err, server.ErrStoreClosed):
		return nil, false, errReopening
	case unreadable(err):
		return nil, false, fmt.Errorf("jetlog: the store cannot be read: %w", err)
	}
	return seqs, err == nil, nil
}

// cut returns those of the ascending seqs that are greater than after and at most upTo, but
// no more than limit of them. through is how far the result reaches.
func cut(seqs []uint64, after, upTo uint64, limit int) (some []uint64, through uint64) {
	from, _ := slices.BinarySearch(seqs, after+1)
	to, _ := slices.BinarySearch(seqs, upTo+1)
	if some = seqs[from:to]; len(some) > limit {
		return some[:limit], some[limit-1]
	}
	return some, upTo
}

func (d *directSource) newestOf(ctx context.Context, records []eventlog.Record) (map[uint64]bool, error) {
	var subjects []string
	lasts := lastOfTopics(records)
	for topic := range lasts {
		subjects = append(subjects, d.names.subject(topic))
	}
	found := map[uint64]bool{}
	if len(subjects) == 0 {
		return found, nil
	}
	seqs, ok, err := d.lasts(subjects, 0)
	for _, seq := range seqs {
		found[seq] = true
	}
	if ok || err != nil {
		return found, err
	}
	for topic := range lasts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := d.last(ctx, topic)
		if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
			return nil, err
		}
		found[r.Seq] = true
	}
	return found, nil
}

func (d *directSource) topics(_ context.Context, f topics.Filter) (map[string]uint64, error) {
	totals := d.store.SubjectsTotals(d.names.filter(f))
	topics := make(map[string]uint64, len(totals))
	for subject, n := range totals {
		topics[d.names.topic(subject)] = n
	}
	return topics, nil
}

// count returns how many selected records there are from seq on, and the number of the last
// record that it examined.
func (d *directSource) count(sel *selection, seq uint64) (n, through uint64, err error) {
	switch {
	case len(sel.subjects) == 1:
		n, through, err = d.store.NumPending(seq, sel.subjects[0], false)
	default:
		n, through, err = d.store.NumPendingMulti(seq, sublist(sel), false)
	}
	if errors.Is(err, server.ErrStoreClosed) {
		err = errReopening
	}
	return n, through, err
}

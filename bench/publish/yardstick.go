//go:build linux

package main

import (
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// serve is a server that reads each request and answers 201 with a short body. It
// does the least that a net/http handler can do for a message, and stores nothing. It
// returns only if it cannot serve.
func serve(args []string) (any, error) {
	flags := newFlags("serve", "[flags]", `
Serves a bare net/http handler that reads the body and answers 201.`)
	addr := addrFlag(flags)
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	return nil, http.ListenAndServe(*addr, http.HandlerFunc(bare))
}

func bare(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"id":"0123456789-123456"}`)
}

// A fsyncResult is what fsync has measured.
type fsyncResult struct {
	measure.Spread

	PerSecond float64 `json:"per_s"`
}

// fsync appends to a file again and again, each time with an fdatasync(2).
func fsync(args []string) (any, error) {
	flags := newFlags("fsync", "[flags] FOLDER", `
Appends 200 bytes to a new file in FOLDER and calls fdatasync, again and again. It
removes the file at the end.`)
	length := flags.Duration("d", 2*time.Second, "how long")
	if err := parse(flags, args, 1); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(flags.Arg(0), "fsync")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	var latencies []int64
	record := make([]byte, 200)
	start := time.Now()
	for begin := start; begin.Sub(start) < *length; begin = time.Now() {
		if _, err := file.Write(record); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return nil, err
		}
		latencies = append(latencies, int64(time.Since(begin)))
	}
	took := time.Since(start).Seconds()
	return fsyncResult{measure.NewSpread(latencies), round(float64(len(latencies))/took, 0)}, nil
}

// A memoryResult is what memory has measured, in units of a million bytes.
type memoryResult struct {
	RSS  float64 `json:"rss_mb"`
	Anon float64 `json:"anon_mb"`
}

// memory reports the memory of a process after a pause.
func memory(args []string) (any, error) {
	flags := newFlags("memory", "-i PID [flags]", `
Reports the memory of a server after a pause: all of it (VmRSS), and what no file
backs (RssAnon).`)
	pid := flags.Int("i", 0, "the server's `PID`")
	pause := flags.Duration("d", 2*time.Second, "the pause")
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	time.Sleep(*pause)
	m, err := measure.ProcessMemory(*pid)
	if err != nil {
		return nil, err
	}
	return memoryResult{measure.Megabytes(m.RSS), measure.Megabytes(m.Anon)}, nil
}

package jetlog

import (
	"fmt"
	"log/slog"
	"strings"
)

// serverLog passes the NATS server's log lines to log.
type serverLog struct {
	log    *slog.Logger
	failed func() // called when the server cannot write
}

func (s *serverLog) Noticef(format string, v ...any) {
	s.log.Debug("nats: " + fmt.Sprintf(format, v...))
}

// The server never calls Debugf and Tracef, because start turns them off.
func (s *serverLog) Debugf(string, ...any) {}
func (s *serverLog) Tracef(string, ...any) {}

func (s *serverLog) Warnf(format string, v ...any) {
	s.log.Warn("nats: " + fmt.Sprintf(format, v...))
}

func (s *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.log.Error("nats: " + text)
	// After a failed write JetStream stops answering, and only this log line shows
	// it. For other JetStream errors, reopening the log does no harm.
	if strings.Contains(text, "JetStream") {
		s.failed()
	}
}

func (s *serverLog) Fatalf(format string, v ...any) { s.Errorf(format, v...) }

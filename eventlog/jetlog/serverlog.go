package jetlog

import (
	"fmt"
	"log/slog"
	"strings"
)

// serverLog gives the server's log to ours.
type serverLog struct {
	log    *slog.Logger
	failed func() // called when the server cannot write
}

func (s *serverLog) Noticef(format string, v ...any) {
	s.log.Debug("nats: " + fmt.Sprintf(format, v...))
}

// Debugf and Tracef are not called: NATS is told to leave that.
func (s *serverLog) Debugf(string, ...any) {}
func (s *serverLog) Tracef(string, ...any) {}

func (s *serverLog) Warnf(format string, v ...any) {
	s.log.Warn("nats: " + fmt.Sprintf(format, v...))
}

func (s *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.log.Error("nats: " + text)
	// It does not answer then, and says so nowhere else. An error that is not of
	// writing does no harm: the log is opened anew.
	if strings.Contains(text, "JetStream") {
		s.failed()
	}
}

func (s *serverLog) Fatalf(format string, v ...any) { s.Errorf(format, v...) }

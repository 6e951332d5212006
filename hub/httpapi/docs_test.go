package httpapi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/streamtest"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The documentation shows what the golden files hold.
func TestJSONIsDocumented(t *testing.T) {
	doc := streamtest.Mask(document(t))
	files, err := filepath.Glob("testdata/*.golden.*")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n\n") {
			if !strings.Contains(doc, "\n"+part+"\n") {
				t.Errorf("docs/http-api.md lacks, of %s,\n%s", file, part)
			}
		}
	}
}

func TestGapsAreDocumented(t *testing.T) {
	doc := document(t)
	for _, reason := range []string{sse.GapLag, sse.GapExpired, sse.GapLost, sse.GapRemoved, sse.GapUnknown, sse.GapFuture, sse.GapMalformed, sse.GapInvalid} {
		if !strings.Contains(doc, "\n| `"+reason+"` | ") {
			t.Errorf("docs/http-api.md has no row for the gap %q", reason)
		}
	}
}

func TestBoundsAreDocumented(t *testing.T) {
	doc := document(t)
	if httpapi.MaxBatchMessages != 10_000 || hub.MaxFilters != 100 || topics.MaxTokens != 16 || topics.MaxBytes != 200 || eventlog.MaxTypeBytes != 200 || eventlog.MaxKeyBytes != 255 {
		t.Error("a bound has changed, and docs/http-api.md with it?")
	}
	for _, says := range []string{"10,000 messages", "up to 100 times", "16 tokens and\n200 bytes", "at most 200 bytes", "at most 255", "at most 512 KiB", "at most 16 MiB"} {
		if !strings.Contains(doc, says) {
			t.Errorf("docs/http-api.md does not say %q", says)
		}
	}
}

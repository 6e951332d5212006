package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// answerJSON answers with v as JSON on one line. v is made of strings, numbers,
// times and structs of them.
func answerJSON(w http.ResponseWriter, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.Write(b.Bytes())
}

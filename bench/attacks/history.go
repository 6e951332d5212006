//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// An event is a message in a topic's history.
type event struct{ ID, Data string }

// history returns a page of a topic's history.
func (s *server) history(topic, after string) ([]event, error) {
	query := url.Values{"limit": {"1000"}}
	if after != "" {
		query.Set("after", after)
	}
	res, err := attackersClient.Get(s.url("/topics/" + topic + "/events?" + query.Encode()))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the history of %s: %s", topic, res.Status)
	}
	var page struct{ Events []event }
	err = json.NewDecoder(res.Body).Decode(&page)
	return page.Events, err
}

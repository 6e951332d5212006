//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A pagesResult is what pages has measured. The count of the spread is the number of
// pages.
type pagesResult struct {
	measure.Spread

	Topics int `json:"topics"` // on all pages
}

// pages reads the list of topics page by page.
func pages(args []string) (any, error) {
	flags := newFlags("topics", "[flags]", `
Reads pages of GET /topics, one after the other, over one connection. It begins in the
middle of -topics topics, or with the first.`)
	addr, bound, topics := addrFlag(flags), boundFlag(flags), topicsFlag(flags)
	limit := flags.Int("limit", 100, "topics on a page, up to 1,000")
	most := flags.Int("pages", 0, "how many pages, at most; 0 means all")
	length := flags.Duration("d", time.Minute, "begin no further page after this long")
	middle := flags.Bool("middle", false, "begin in the middle")
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	n, err := newNames(*topics)
	if err != nil {
		return nil, err
	}
	after := ""
	if *middle {
		after = n.name(n.count / 2)
	}
	client := &http.Client{Timeout: *bound}
	defer client.CloseIdleConnections()
	var result pagesResult
	var latencies []int64
	for start := time.Now(); (len(latencies) == 0 || after != "") && (*most == 0 || len(latencies) < *most) && time.Since(start) < *length; {
		begin := time.Now()
		body, err := get(client, "http://"+*addr+"/topics?"+url.Values{"limit": {strconv.Itoa(*limit)}, "after": {after}}.Encode())
		latencies = append(latencies, int64(time.Since(begin)))
		if err != nil {
			return nil, err
		}
		var page struct {
			Topics []struct{} `json:"topics"`
			Next   string     `json:"next"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, err
		}
		if len(page.Topics) == 0 {
			return nil, errors.New("a page has no topics")
		}
		result.Topics += len(page.Topics)
		after = page.Next
	}
	result.Spread = measure.NewSpread(latencies)
	return result, nil
}

// get returns the body of an answer, which must be 200.
func get(client *http.Client, url string) ([]byte, error) {
	res, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: the status is %s", url, res.Status)
	}
	return body, err
}

// Consumer copies each message of a hub into a file once, whatever is killed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"example.com/tidings/eventsource"
)

func main() {
	url, file := os.Args[1], os.Args[2] // http://127.0.0.1:8080/events?topic=orders.**&from=start
	all, _ := os.ReadFile(file)
	all = all[:bytes.LastIndexByte(all, '\n')+1] // without a line that was not finished
	id, _, _ := bytes.Cut(all[bytes.LastIndexByte(bytes.TrimSpace(all), '\n')+1:], []byte(" "))
	out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	out.Truncate(int64(len(all)))
	for ev, err := range eventsource.New(url, &eventsource.Options{LastEventID: string(id)}).Events(context.Background()) {
		if err != nil {
			log.Print(err)
		} else if _, err := fmt.Fprintf(out, "%s %q\n", ev.ID, ev.Data); err != nil {
			log.Fatal(err)
		}
	}
}

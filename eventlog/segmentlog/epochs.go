package segmentlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"example.com/tidings/eventlog"
)

// maxEpochs bounds how many epochs the log remembers. Each start makes one.
const maxEpochs = 1000

// epochsFile holds the epochs of an embedded log, oldest first.
const epochsFile = "epochs.json"

// An epochsRecord is the content of the file. Check is the CRC32C of Epochs as the file has
// it, in hexadecimal digits.
type epochsRecord struct {
	Check  string          `json:"check"`
	Epochs json.RawMessage `json:"epochs"`
}

type epochRecord struct {
	ID    string `json:"id"`
	First uint64 `json:"first"`
}

// loadEpochs returns the epochs of the log in a folder, or none if there is no file.
func loadEpochs(files fileSystem, dir string) ([]eventlog.Epoch, error) {
	data, err := files.readFile(filepath.Join(dir, epochsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var content epochsRecord
	var records []epochRecord
	if err == nil {
		err = json.Unmarshal(data, &content)
	}
	if err == nil && content.Check != epochsCheck(content.Epochs) {
		err = errors.New("the file is damaged")
	}
	if err == nil {
		err = json.Unmarshal(content.Epochs, &records)
	}
	epochs := make([]eventlog.Epoch, 0, len(records)+1)
	for i, r := range records {
		if _, e := eventlog.ParsePosition(r.ID + "-0"); e != nil || i > 0 && r.First < records[i-1].First {
			return nil, errors.New("the file holds no epochs")
		}
		epochs = append(epochs, eventlog.Epoch{ID: r.ID, First: r.First})
	}
	return epochs, err
}

// saveEpochs writes the epochs.
func saveEpochs(files fileSystem, dir string, epochs []eventlog.Epoch) error {
	records := make([]epochRecord, 0, len(epochs))
	for _, e := range epochs {
		records = append(records, epochRecord{ID: e.ID, First: e.First})
	}
	list, err := json.Marshal(records)
	if err != nil {
		return err
	}
	data, err := json.Marshal(epochsRecord{epochsCheck(list), list})
	if err != nil {
		return err
	}
	return replaceFile(files, filepath.Join(dir, epochsFile), append(data, '\n'))
}

func epochsCheck(list []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(list, castagnoli)) }

// nextEpochs returns the epochs after a start at the time now. The start found the last
// sequence number to be last.
//
// It keeps up to maxEpochs epochs, including those that have no record left. Any epoch may
// have assigned numbers that were lost, and the log must recognize their ids as lost. If
// earlier epochs assigned numbers after last, all those messages are gone. So these epochs
// begin no later than the new one.
func nextEpochs(old []eventlog.Epoch, last uint64, now time.Time) []eventlog.Epoch {
	next := eventlog.Epoch{First: last + 1}
	epochs := slices.Clone(old)
	if len(epochs) == 0 && last > 0 {
		// The file is gone, but the messages are not. Their ids are older than this epoch,
		// so a client resumes at the beginning of the log. It misses nothing. The gap event
		// has told the client that it may get messages twice.
		epochs = append(epochs, eventlog.Epoch{ID: eventlog.NewEpochID(now.Add(-time.Second)), First: 1})
	}
	for i := range epochs {
		epochs[i].First = min(epochs[i].First, next.First)
	}
	if n := len(epochs); n > 0 {
		next.ID = eventlog.NextEpochID(epochs[n-1].ID, now)
	} else {
		next.ID = eventlog.NewEpochID(now)
	}
	epochs = append(epochs, next)
	// Epochs that have no record left go first. Without them, their ids still resolve to
	// the same place.
	for i := 0; len(epochs) > maxEpochs && i+1 < len(epochs)-1; {
		if epochs[i].First == epochs[i+1].First {
			epochs = slices.Delete(epochs, i, i+1)
		} else {
			i++
		}
	}
	return epochs[max(0, len(epochs)-maxEpochs):]
}

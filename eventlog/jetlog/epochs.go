package jetlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/tidings/eventlog"
)

// maxEpochs bounds how many epochs the log remembers. Each start makes one.
const maxEpochs = 1000

// epochTime is how many characters of an epoch's id encode its time.
const epochTime = 7

// epochsFile holds the epochs of an embedded log, oldest first.
const epochsFile = "epochs.json"

type epochRecord struct {
	ID    string `json:"id"`
	First uint64 `json:"first"`
}

// loadEpochs returns the epochs of the log in a folder, or none if there is no file.
func loadEpochs(dir string) ([]eventlog.Epoch, error) {
	data, err := os.ReadFile(filepath.Join(dir, epochsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var records []epochRecord
	if err == nil {
		err = json.Unmarshal(data, &records)
	}
	epochs := make([]eventlog.Epoch, 0, len(records)+1)
	for _, r := range records {
		epochs = append(epochs, eventlog.Epoch(r))
	}
	return epochs, err
}

// saveEpochs writes the epochs. After a crash at any point, the file holds either the old
// epochs or the new ones.
func saveEpochs(dir string, epochs []eventlog.Epoch) error {
	records := make([]epochRecord, 0, len(epochs))
	for _, e := range epochs {
		records = append(records, epochRecord(e))
	}
	data, err := json.MarshalIndent(records, "", "\t")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, epochsFile)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return syncDir(dir)
}

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
	// A later epoch needs a greater id, even if the clock has gone back.
	next.ID = eventlog.NewEpochID(now)
	for t := now; len(epochs) > 0 && next.ID[:epochTime] <= epochs[len(epochs)-1].ID[:epochTime]; {
		t = t.Add(time.Second)
		next.ID = eventlog.NewEpochID(t)
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

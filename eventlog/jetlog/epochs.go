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

// maxEpochs bounds how many epochs are remembered: each start makes one.
const maxEpochs = 1000

// epochTime is how many characters of an epoch's id are its time.
const epochTime = 7

// epochsFile has the epochs of an embedded log, oldest first.
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

// saveEpochs writes the epochs. After a crash at any point, the file has either the old
// ones or the new ones.
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

// nextEpochs returns the epochs after a start at now that found last to be the last
// sequence number.
//
// It keeps up to maxEpochs epochs, also those of which no record is left: any epoch may
// have assigned numbers that were lost, and their ids have to be known as lost. If earlier
// epochs had got further than last, everything that they assigned after it is gone. So
// they begin no later than the new one.
func nextEpochs(old []eventlog.Epoch, last uint64, now time.Time) []eventlog.Epoch {
	next := eventlog.Epoch{First: last + 1}
	epochs := slices.Clone(old)
	if len(epochs) == 0 && last > 0 {
		// The file is gone, but the messages are not. Their ids are older than this
		// epoch, and so a client resumes at the beginning of the log. It misses
		// nothing. The gap event has told it that it may get messages twice.
		epochs = append(epochs, eventlog.Epoch{ID: eventlog.NewEpochID(now.Add(-time.Second)), First: 1})
	}
	for i := range epochs {
		epochs[i].First = min(epochs[i].First, next.First)
	}
	// A later epoch needs a greater id, although clocks may go back.
	next.ID = eventlog.NewEpochID(now)
	for t := now; len(epochs) > 0 && next.ID[:epochTime] <= epochs[len(epochs)-1].ID[:epochTime]; {
		t = t.Add(time.Second)
		next.ID = eventlog.NewEpochID(t)
	}
	epochs = append(epochs, next)
	// Epochs of which no record is left go first: without them, their ids resolve to the
	// same place.
	for i := 0; len(epochs) > maxEpochs && i+1 < len(epochs)-1; {
		if epochs[i].First == epochs[i+1].First {
			epochs = slices.Delete(epochs, i, i+1)
		} else {
			i++
		}
	}
	return epochs[max(0, len(epochs)-maxEpochs):]
}

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

	"example.com/tidings/hub"
)

// maxEpochs bounds how many epochs are remembered: each start makes one.
const maxEpochs = 1000

// epochTime is how much of an id is the time.
const epochTime = 7

// epochsFile has the epochs of an embedded log, oldest first.
const epochsFile = "epochs.json"

type epochRecord struct {
	ID    string `json:"id"`
	First uint64 `json:"first"`
}

// loadEpochs returns the epochs that are remembered in a folder, none if there is
// no such file.
func loadEpochs(dir string) ([]hub.Epoch, error) {
	data, err := os.ReadFile(filepath.Join(dir, epochsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var records []epochRecord
	if err == nil {
		err = json.Unmarshal(data, &records)
	}
	epochs := make([]hub.Epoch, 0, len(records)+1)
	for _, r := range records {
		epochs = append(epochs, hub.Epoch(r))
	}
	return epochs, err
}

// saveEpochs writes them so that either the old ones or the new ones are there,
// whatever happens.
func saveEpochs(dir string, epochs []hub.Epoch) error {
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

// nextEpochs returns the epochs after a start at now that found last to be the
// last sequence number. There are records if the stream is not new.
//
// All epochs are kept that there is room for, those of which nothing is left too:
// whether one has assigned a number that was lost cannot be told, and its ids have
// to be known as lost. Where epochs before had got further than last, all they
// assigned after it is gone, so they begin no later than the new one.
func nextEpochs(old []hub.Epoch, last uint64, now time.Time) []hub.Epoch {
	next := hub.Epoch{First: last + 1}
	epochs := slices.Clone(old)
	if len(epochs) == 0 && last > 0 {
		// The file is gone, the messages are not. An id of theirs is older than
		// this epoch, and so resumes at the beginning of all: what a client gets
		// twice then, the gap event has told it of, and it misses nothing.
		epochs = append(epochs, hub.Epoch{ID: hub.NewEpochID(now.Add(-time.Second)), First: 1})
	}
	for i := range epochs {
		epochs[i].First = min(epochs[i].First, next.First)
	}
	// Ids are compared to tell which epoch is later, and clocks go back.
	next.ID = hub.NewEpochID(now)
	for t := now; len(epochs) > 0 && next.ID[:epochTime] <= epochs[len(epochs)-1].ID[:epochTime]; {
		t = t.Add(time.Second)
		next.ID = hub.NewEpochID(t)
	}
	epochs = append(epochs, next)
	// One of which nothing is left can go first: what its ids resolve to without
	// it is the same place.
	for i := 0; len(epochs) > maxEpochs && i+1 < len(epochs)-1; {
		if epochs[i].First == epochs[i+1].First {
			epochs = slices.Delete(epochs, i, i+1)
		} else {
			i++
		}
	}
	return epochs[max(0, len(epochs)-maxEpochs):]
}

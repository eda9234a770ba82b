package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/ca/store"
)

// headEvery is how often a server notes how far its store has come.
const headEvery = 10 * time.Second

// storeCurrent is the stable id of the check, in the log and in docs/checks.md.
const storeCurrent = "store-current"

// headKeeper notes in the data directory, outside the store, how far the store had
// come, and finds out whether the store at hand is older than that. It never goes
// back by itself: what was noted stays until the store has it, or an operator
// accepts the one that is there.
type headKeeper struct {
	dataDir string
	store   store.Durable
	now     func() time.Time
	log     *slog.Logger
	noted   store.Mark // what the file says, as far as this process knows
}

func headPath(dataDir string) string { return filepath.Join(dataDir, "head") }

// readHead reads what was noted; the zero Mark when nothing was.
func readHead(dataDir string) (store.Mark, error) {
	raw, err := secretfile.Read(headPath(dataDir), 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return store.Mark{}, nil
	}
	if err != nil {
		return store.Mark{}, fmt.Errorf("reading how far the store had come: %w", err)
	}
	var m store.Mark
	if err := json.Unmarshal(raw, &m); err != nil || m.Store == "" {
		return store.Mark{}, fmt.Errorf("%s is damaged; ca store accept writes it anew", headPath(dataDir))
	}
	return m, nil
}

// writeHead replaces the note: a crash leaves the old one or the new one.
func writeHead(dataDir string, m store.Mark) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("noting how far the store has come: %w", err)
	}
	next := headPath(dataDir) + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("noting how far the store has come: %w", err)
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = errors.Join(os.Rename(next, headPath(dataDir)), secretfile.SyncDir(dataDir))
	}
	if err != nil {
		return fmt.Errorf("noting how far the store has come: %w", err)
	}
	return nil
}

// isBehind compares the store with what was noted in the data directory.
func isBehind(ctx context.Context, dataDir string, s store.Marker) error {
	noted, err := readHead(dataDir)
	if err != nil || noted == (store.Mark{}) {
		return err
	}
	return s.Holds(ctx, noted)
}

// begin looks at the store at a start. A store that is older is served all the same:
// it is what there is, serials are random and cannot repeat, and nobody is helped by
// an outage. It is said in the log, in the events, and by ca check until an operator
// has accepted it.
func (h *headKeeper) begin(ctx context.Context) error {
	err := isBehind(ctx, h.dataDir, h.store)
	if !errors.Is(err, store.ErrBehind) {
		if err != nil {
			h.log.Warn("whether the store is current could not be found out", "id", storeCurrent, "error", err)
		}
		return nil
	}
	h.log.Warn("the store is older than what this server has written; after a restore that was meant, run ca store accept", "id", storeCurrent, "error", err)
	return h.store.Append(ctx, ca.Event{At: h.now().UTC(), Actor: "system", Action: "store.behind", Detail: map[string]string{"why": err.Error()}})
}

// run notes how far the store has come until ctx ends, and once more then.
func (h *headKeeper) run(ctx context.Context) {
	ticker := time.NewTicker(headEvery)
	defer ticker.Stop()
	for h.note(ctx); ; h.note(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			h.note(last)
			return
		}
	}
}

// note writes the note when there is something new and the store is not behind.
// What fails is tried again: a note that is late only finds less.
func (h *headKeeper) note(ctx context.Context) {
	m, err := h.store.Mark(ctx)
	if err != nil || m == h.noted || isBehind(ctx, h.dataDir, h.store) != nil {
		return
	}
	if err := writeHead(h.dataDir, m); err != nil {
		h.log.Warn("how far the store has come was not noted", "id", storeCurrent, "error", err)
		return
	}
	h.noted = m
}

// checkHead is the check of a store against what was noted.
func checkHead(ctx context.Context, cfg config) checkResult {
	r := checkResult{"config", storeCurrent, ca.LevelOK, "it has everything that this server noted of it", ""}
	opened, err := cfg.readStore(ctx)
	if err == nil {
		err = errors.Join(isBehind(ctx, cfg.DataDir, opened), opened.Close())
	}
	switch {
	case errors.Is(err, store.ErrBehind):
		r.fault(ca.LevelFail, err.Error(), "after a restore that was meant: ca store accept; else stop the server and find the newer store")
	case err != nil:
		r.fault(ca.LevelFail, err.Error(), "check as the server's user, and look at the server's log")
	}
	return r
}

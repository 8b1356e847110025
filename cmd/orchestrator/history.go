package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"provingground/orchestrator"
	"provingground/orchestrator/history"
)

// historyTime bounds how long the end of a run waits for its history to be stored.
const historyTime = 15 * time.Second

// historian keeps the history of a run in the database of its configuration. Without a database it does nothing.
type historian struct {
	follower *history.Follower // nil for none
	log      *zap.Logger
	complete string // the command that completes the history
}

// newHistorian begins to keep the history of the run that is recorded in the file at recordPath.
func newHistorian(ctx context.Context, config orchestrator.Config, recordPath, configPath string, log *zap.Logger) historian {
	h := historian{log: log, complete: historyLine(recordPath, configPath)}
	switch {
	case config.DBURI == "":
	case !plainFile(recordPath):
		log.Warn("no history of the run is kept: it is made from the record, and that is no plain file", zap.String("file", recordPath))
	default:
		var err error
		if h.follower, err = history.Follow(ctx, config.DBURI, recordPath, log); err != nil {
			log.Warn("no history of the run is kept", zap.Error(err))
		}
	}
	return h
}

// wake says that the record has more lines.
func (h historian) wake() {
	if h.follower != nil {
		h.follower.Wake()
	}
}

// close stores the rest. What cannot be stored does not change how the run ended.
func (h historian) close(ctx context.Context) {
	if h.follower == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), historyTime)
	defer cancel()
	if err := h.follower.Close(ctx); err != nil {
		h.log.Warn("the history of the run is not complete in the database", zap.Error(err), zap.String("to complete it", h.complete))
	}
}

// historyLine is the command that stores a record's history.
func historyLine(recordPath, configPath string) string {
	return fmt.Sprintf("orchestrator history %s %s", word(recordPath), word(configPath))
}

// keepHistory stores the history of a record to which something was added.
func keepHistory(ctx context.Context, config orchestrator.Config, recordPath, configPath string, log *zap.Logger) {
	if config.DBURI == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), historyTime)
	defer cancel()
	if _, err := importRecord(ctx, config, recordPath); err != nil {
		log.Warn("the history of the run is not complete in the database", zap.Error(err), zap.String("to complete it", historyLine(recordPath, configPath)))
	}
}

// importRecord stores the history of the runs in a record.
func importRecord(ctx context.Context, config orchestrator.Config, recordPath string) (runs []history.Run, err error) {
	file, err := os.Open(recordPath) //nolint:gosec // the caller's own argument
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return history.Import(ctx, config.DBURI, recordPath, file) //nolint:wrapcheck // says it all
}

// recordAndDatabase reads the arguments of a command about a record and the database with its history.
func (p program) recordAndDatabase(positional []string) (recordPath string, config orchestrator.Config, err error) {
	if len(positional) != 2 {
		return "", orchestrator.Config{}, usagef("it takes the record of the run and the configuration")
	}
	config, err = orchestrator.ReadConfig(positional[1], p.getenv)
	switch {
	case err != nil:
		return "", orchestrator.Config{}, p.swapped(positional, err)
	case config.DBURI == "":
		return "", orchestrator.Config{}, usagef("%s names no database: add dbUri, the address of the one that the fetcher writes to", positional[1])
	}
	return positional[0], config, nil
}

func historyCommand(ctx context.Context, p program, args []string) (int, error) {
	positional, err := p.parse(p.flags("history"), args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	recordPath, config, err := p.recordAndDatabase(positional)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	runs, err := importRecord(ctx, config, recordPath)
	for _, r := range runs {
		what := "is in the database already"
		if r.Stored {
			what = "stored"
		}
		if _, err := fmt.Fprintf(p.stdout, "run %s, %d lines: %s\n", r.ID, r.Lines, what); err != nil {
			return orchestrator.CodeStep, err //nolint:wrapcheck // says that standard output failed
		}
	}
	if err != nil {
		return orchestrator.CodeStep, err
	}
	return orchestrator.CodeOK, nil
}

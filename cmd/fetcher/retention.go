package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
)

const (
	// traceRows is how many block traces are deleted in one transaction.
	traceRows = 10_000
	// busyPause is the pause before what somebody reads is tried again, busyWarning the least time between two warnings about it.
	busyPause   = 10 * time.Second
	busyWarning = time.Hour
)

// retain drops what is too old, now and once a day, on a connection of its own that it has only meanwhile.
func (s settings) retain(ctx context.Context, uri string, log *boot.Log) {
	const day = 24 * time.Hour
	var warned time.Time
	for {
		first := time.Now().UTC().Add(-time.Duration(s.retainDays) * day).Format(time.DateOnly)
		dropped, busy, err := dropBefore(ctx, uri, first)
		if ctx.Err() != nil {
			return
		}
		if len(dropped) > 0 {
			log.Info("dropped what is too old", zap.String("before", first), zap.Int("partitions", len(dropped)))
		}
		wait := day
		switch {
		case err != nil:
			wait = time.Minute
			log.Warn("what is too old cannot be dropped now", zap.String("before", first), zap.Error(err))
		case len(busy) > 0:
			wait = busyPause
			if now := time.Now(); now.Sub(warned) > busyWarning {
				warned = now
				log.Warn("what is too old is still read by somebody, and is dropped later", zap.String("before", first), zap.Strings("partitions", busy))
			}
		}
		if boot.Pause(ctx, wait) != nil {
			return
		}
	}
}

// dropBefore drops what is older than a UTC day, bit by bit, so that nobody waits for it longer than the fifth of a second that each bit may wait
// for others. It returns the partitions that it dropped, and those that it could not, for somebody uses their tables.
func dropBefore(ctx context.Context, uri, first string) (dropped, busy []string, err error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for deleted := traceRows; deleted == traceRows; {
		if err := conn.QueryRow(ctx, "SELECT delete_traces_before($1::text::date, $2)", first, traceRows).Scan(&deleted); inUse(err) {
			busy = append(busy, "block_trace")
			break
		} else if err != nil {
			return nil, nil, fmt.Errorf("deleting block traces: %w", err)
		}
	}
	type partition struct {
		Part       string
		Deployment int
		Day        time.Time
	}
	rows, err := conn.Query(ctx, "SELECT part, deployment_id, day FROM partitions_before($1::text::date)", first)
	if err != nil {
		return nil, nil, fmt.Errorf("listing partitions: %w", err)
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[partition])
	if err != nil {
		return nil, nil, fmt.Errorf("listing partitions: %w", err)
	}
	for _, p := range parts {
		if _, err := conn.Exec(ctx, "SELECT drop_partition($1, $2, $3)", p.Part, p.Deployment, p.Day); inUse(err) {
			busy = append(busy, p.Part)
		} else if err != nil {
			return dropped, busy, fmt.Errorf("dropping %s: %w", p.Part, err)
		} else {
			dropped = append(dropped, p.Part)
		}
	}
	return dropped, busy, nil
}

// inUse tells whether a lock could not be had in time.
func inUse(err error) bool {
	const lockNotAvailable = "55P03"
	refused, is := errors.AsType[*pgconn.PgError](err)
	return is && refused.Code == lockNotAvailable
}

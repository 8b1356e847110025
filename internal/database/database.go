// Package database asks PostgreSQL within a time, and tells failures that may pass from refusals.
package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Ask does something that needs the database's answer, a new connection included, within a limit of wall time. An error begins with what was being done. It wraps
// unavailable where the same may succeed later: the limit is over, or [Passing] says so. The end of the caller's context is neither: the error wraps its cause.
func Ask(ctx context.Context, limit time.Duration, unavailable error, doing string, do func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	err := do(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case limited.Err() != nil:
		return fmt.Errorf("%s: %w: %w", doing, unavailable, context.Cause(limited))
	case Passing(err):
		return fmt.Errorf("%s: %w: %w", doing, unavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Passing tells whether the same statement may succeed later: all that is no answer of the server, and of its answers (PostgreSQL's error codes) those of a
// connection that failed, of a login that the server cannot check now or refuses, of a transaction that lost against another, of resources that are used up, of an
// operator who intervened, and of the system. A refused login is among them for it is the operator's to mend without a restart of the program.
func Passing(err error) bool {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) {
		return true
	}
	if len(refusal.Code) != 5 {
		return false
	}
	switch refusal.Code[:2] {
	case "08", "28", "40", "53", "57", "58":
		return true
	}
	const noDatabase, readOnly = "3D000", "25006" // while it is restored; on a standby server, before it takes over
	return refusal.Code == noDatabase || refusal.Code == readOnly
}

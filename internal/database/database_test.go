package database

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestAsk(t *testing.T) {
	unavailable, gone, cut := errors.New("unavailable"), errors.New("the caller left"), errors.New("connection reset")
	for name, test := range map[string]struct {
		do         func(context.Context, context.CancelCauseFunc) error
		want, none error // is, and is not, in the error
	}{
		"done":          {func(context.Context, context.CancelCauseFunc) error { return nil }, nil, unavailable},
		"cut off":       {func(context.Context, context.CancelCauseFunc) error { return cut }, unavailable, gone},
		"lost a race":   {func(context.Context, context.CancelCauseFunc) error { return &pgconn.PgError{Code: "40001"} }, unavailable, gone},
		"standby":       {func(context.Context, context.CancelCauseFunc) error { return &pgconn.PgError{Code: "25006"} }, unavailable, gone},
		"refused":       {func(context.Context, context.CancelCauseFunc) error { return &pgconn.PgError{Code: "23505"} }, nil, unavailable},
		"no such table": {func(context.Context, context.CancelCauseFunc) error { return &pgconn.PgError{Code: "42P01"} }, nil, unavailable},
		"silent":        {func(ctx context.Context, _ context.CancelCauseFunc) error { <-ctx.Done(); return ctx.Err() }, unavailable, gone},
		"caller left": {func(ctx context.Context, leave context.CancelCauseFunc) error {
			leave(gone)
			<-ctx.Done()
			return ctx.Err()
		}, gone, unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, leave := context.WithCancelCause(t.Context())
				defer leave(nil)
				err := Ask(ctx, 5*time.Second, unavailable, "asking", func(ctx context.Context) error { return test.do(ctx, leave) })
				if (err == nil) != (name == "done") || test.want != nil && !errors.Is(err, test.want) || errors.Is(err, test.none) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestDatabaseProblems says for each kind of error what a client is told, and what an operator.
func TestDatabaseProblems(t *testing.T) {
	t.Parallel()
	refused := func(code string) error {
		return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Message: "confidential"})
	}
	ended, end := context.WithCancelCause(t.Context())
	end(errTimeout)
	for name, test := range map[string]struct {
		ctx     context.Context
		err     error
		status  int
		retry   bool
		odd     bool
		message string
	}{
		"NUL in JSON":            {t.Context(), refused("22P05"), http.StatusBadRequest, false, false, "refuses a value"},
		"too deep":               {t.Context(), refused("54001"), http.StatusBadRequest, false, false, "refuses a value"},
		"no table":               {t.Context(), refused("42P01"), http.StatusServiceUnavailable, true, false, "cannot answer now"},
		"starting":               {t.Context(), refused("57P03"), http.StatusServiceUnavailable, true, false, "cannot answer now"},
		"disk full":              {t.Context(), refused("53100"), http.StatusServiceUnavailable, true, false, "cannot answer now"},
		"deadlock":               {t.Context(), refused("40P01"), http.StatusServiceUnavailable, true, false, "cannot answer now"},
		"time-out of the server": {t.Context(), refused("57014"), http.StatusServiceUnavailable, true, false, "took too long"},
		"time-out here":          {ended, io.ErrUnexpectedEOF, http.StatusServiceUnavailable, true, false, "took too long"},
		"connection lost":        {t.Context(), io.ErrUnexpectedEOF, http.StatusServiceUnavailable, true, false, "does not answer"},
		"constraint":             {t.Context(), refused("23514"), http.StatusInternalServerError, false, true, "the fetcher's log has"},
		"internal":               {t.Context(), refused("XX000"), http.StatusInternalServerError, false, true, "the fetcher's log has"},
		"short code":             {t.Context(), refused(""), http.StatusInternalServerError, false, true, "the fetcher's log has"},
		"of our own":             {t.Context(), odd(errors.New("confidential")), http.StatusInternalServerError, false, true, "the fetcher's log has"},
		"known":                  {t.Context(), fmt.Errorf("wrapped: %w", tooLarge("large")), http.StatusUnprocessableEntity, false, false, "large"},
	} {
		got := asProblem(databaseProblem(test.ctx, test.err))
		if got.status != test.status || got.retry != test.retry || got.isOdd != test.odd || !strings.Contains(got.text, test.message) || strings.Contains(got.text, "confidential") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

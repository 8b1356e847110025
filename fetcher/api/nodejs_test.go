package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// The expected texts are what JSON.stringify gives for the values of pg and postgres-interval, worked out from their parsing.
func TestIntervals(t *testing.T) {
	t.Parallel()
	for want, given := range map[string]pgtype.Interval{
		`{}`:            {},
		`{"minutes":5}`: {Microseconds: 300e6},
		`{"years":1,"months":2,"days":3,"hours":4,"minutes":5,"seconds":6,"milliseconds":7.008}`: {Months: 14, Days: 3, Microseconds: (4*3600+5*60+6)*1e6 + 7008},
		`{"hours":-4,"minutes":-5,"seconds":-6,"milliseconds":-0.5}`:                             {Microseconds: -(4*3600+5*60+6)*1e6 - 500},
		`{"years":-1,"months":-2}`: {Months: -14},
		`{"hours":100}`:            {Microseconds: 360000e6},
	} {
		got, err := json.Marshal(interval(given))
		if err != nil || string(got) != want {
			t.Errorf("%+v: %s, %v, want %s", given, got, err, want)
		}
	}
}

func TestInstants(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 13, 0, 0, 999_999_999, time.FixedZone("", 3600))
	for want, given := range map[string]instant{
		`"2026-11-20T12:00:00.999Z"`: {Time: at},
		`null`:                       {Time: at, infinite: true},
	} {
		got, err := json.Marshal(given)
		if err != nil || string(got) != want {
			t.Errorf("%v: %s, %v, want %s", given, got, err, want)
		}
	}
}

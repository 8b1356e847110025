package boot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DatabaseURI is what is known of a database's URI that can be read.
type DatabaseURI struct {
	// Password is what is used, from wherever it comes, and is to be masked in the log; empty for none.
	Password string
	// Shown says that a password is in the URI itself.
	Shown bool
}

// CheckDatabaseURI checks a database's URI; name is that of the option or key which gives it. An error holds no piece of a password.
func CheckDatabaseURI(name, uri string) (DatabaseURI, error) {
	const form = "give postgresql://USER@HOST:PORT/DATABASE, and the password in the environment variable PGPASSWORD or in ~/.pgpass"
	config, err := pgx.ParseConfig(uri)
	if err != nil {
		return DatabaseURI{}, fmt.Errorf("%s is no PostgreSQL URI%s: %s", name, badPart(uri, err), form)
	}
	if rest, isURI := withoutScheme(uri); isURI {
		_, path, _ := strings.Cut(rest, "/")
		if path, _, _ = strings.Cut(path, "?"); strings.Contains(path, "@") { // the rest of a password would be told as the database's name
			return DatabaseURI{}, fmt.Errorf("%s has an @ behind its first /: write / and @ as %%2F and %%40 where they separate nothing, as in a password: %s", name, form)
		}
	}
	return DatabaseURI{Password: config.Password, Shown: holdsPassword(uri)}, nil
}

// badPart says what is wrong with a database's URI, or nothing where that might show a piece of the password: in a URI whose user and password do
// not end where they should, any part may be one.
func badPart(uri string, err error) string {
	wrong, is := errors.AsType[*pgconn.ParseConfigError](err)
	rest, isURI := withoutScheme(uri)
	_, behind, _ := strings.Cut(rest, "/")
	_, query, _ := strings.Cut(rest, "?")
	if !is || !isURI || strings.Contains(behind, "@") || strings.Contains(query, "password") {
		return ""
	}
	hidden := *wrong
	hidden.ConnString = "it" // in place of the URI, which has the password
	return ": " + hidden.Error()
}

// holdsPassword tells whether a database's URI that could be read has a password in it, whatever else there is in the environment.
func holdsPassword(uri string) bool {
	rest, isURI := withoutScheme(uri)
	if !isURI { // it is a list of NAME=VALUE
		return strings.Contains(uri, "password")
	}
	authority, _, _ := strings.Cut(rest, "/")
	user, _, named := strings.Cut(authority, "@")
	_, password, _ := strings.Cut(user, ":")
	_, query, _ := strings.Cut(rest, "?")
	return named && password != "" || strings.Contains(query, "password=")
}

// withoutScheme returns what comes behind the scheme of a database's URI, if it has that of PostgreSQL.
func withoutScheme(uri string) (rest string, isURI bool) {
	scheme, rest, _ := strings.Cut(uri, "://")
	return rest, scheme == "postgres" || scheme == "postgresql"
}

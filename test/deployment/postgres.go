package deployment

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is the PostgreSQL server of tests: PURSER_POSTGRES, or else the one that
// is usual on a developer's machine.
const defaultServer = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"

// serverPatience bounds what a test asks of the server by itself.
const serverPatience = 10 * time.Second

// Database is a database of a test's own.
type Database struct {
	DSN    string
	server string
	name   string
}

// ErrNoPostgres tells that there is no server and that none is required.
var ErrNoPostgres = errors.New("no PostgreSQL can be reached; PURSER_POSTGRES names one, and requires it")

// NewDatabase makes a database. Where PURSER_POSTGRES is not set and nobody
// answers, it is [ErrNoPostgres].
func NewDatabase(ctx context.Context) (*Database, error) {
	server, required := os.LookupEnv("PURSER_POSTGRES")
	if !required {
		server = defaultServer
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	db := &Database{server: server, name: "purser_test_" + hex.EncodeToString(b[:])}
	if err := db.run(ctx, "CREATE DATABASE "+db.name); err != nil {
		if !required {
			return nil, fmt.Errorf("%w (%w)", ErrNoPostgres, err)
		}
		return nil, err
	}
	if u, err := url.Parse(server); err == nil && u.Scheme != "" {
		u.Path = "/" + db.name
		db.DSN = u.String()
	} else {
		db.DSN = server + " dbname=" + db.name // the last one counts
	}
	return db, nil
}

// run executes one statement on the server.
func (db *Database) run(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	c, err := pgx.Connect(ctx, db.server)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

// Cut ends every session of the database at once, in whichever transaction it is,
// and lets none in until [Database.Mend]: to the nodes it is a server that went
// down.
func (db *Database) Cut(ctx context.Context) error {
	if err := db.run(ctx, "ALTER DATABASE "+db.name+" ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	return db.run(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+db.name+"'")
}

// restartVariable is a shell command that restarts the server at once, as after a
// crash. Whoever sets it owns the server.
const restartVariable = "PURSER_POSTGRES_RESTART"

// Crash restarts the server as after a crash, where PURSER_POSTGRES_RESTART says
// how; ok is false where it does not.
func (db *Database) Crash(ctx context.Context) (ok bool, err error) {
	command := os.Getenv(restartVariable)
	if command == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput(); err != nil { //nolint:gosec // G204: the owner's command
		return true, fmt.Errorf("restart PostgreSQL: %w\n%s", err, out)
	}
	return true, nil
}

// Mend lets sessions in again.
func (db *Database) Mend(ctx context.Context) error {
	return db.run(ctx, "ALTER DATABASE "+db.name+" ALLOW_CONNECTIONS true")
}

// Rows tells every row of every table, as text.
func (db *Database) Rows(ctx context.Context, tell func(table, row string)) error {
	c, err := pgx.Connect(ctx, db.DSN)
	if err != nil {
		return err
	}
	defer c.Close(ctx) //nolint:errcheck // it was only read
	rows, err := c.Query(ctx, "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')")
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, table := range tables {
		// A bytea's text is hex: what it holds is shown as it is.
		rows, err := c.Query(ctx, "SELECT * FROM "+table)
		if err != nil {
			return err
		}
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				return err
			}
			for _, v := range values {
				if b, ok := v.([]byte); ok {
					tell(table, string(b))
				} else {
					tell(table, fmt.Sprint(v))
				}
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Drop removes the database with all that is in it.
func (db *Database) Drop(ctx context.Context) error {
	return db.run(ctx, "DROP DATABASE IF EXISTS "+db.name+" WITH (FORCE)")
}

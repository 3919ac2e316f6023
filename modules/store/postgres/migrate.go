package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock of those who migrate; any number will do
// that nobody else uses in this database.
const migrationLock = 0x707572736572 // "purser"

// migrate brings the schema up to date. Of nodes that start together one does
// it, and the others wait. It refuses a schema that a newer release has made:
// what that release relies on is not known here.
func migrate(ctx context.Context, cfg *pgx.ConnConfig) (err error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return apply(ctx, cfg, files)
}

func apply(ctx context.Context, cfg *pgx.ConnConfig, files fs.FS) (err error) {
	// The lock is the session's: it ends with the connection, however we end.
	guard, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.Close(context.WithoutCancel(ctx))) }()
	if _, err := guard.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("wait for others who migrate: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have > want {
		return fmt.Errorf("the database has schema %d, this release knows %d: a newer release made it", have, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate from schema %d to %d: %w", have, want, err)
	}
	return nil
}

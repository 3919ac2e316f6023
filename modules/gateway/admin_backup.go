package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"
)

// backUpStore writes a copy of the store to a file of the gateway's machine. It
// answers when the copy is on disk, which may take minutes; showBackup tells
// meanwhile how far it is.
func backUpStore(c call) error {
	defer c.Use()()
	var in struct {
		File string `json:"file"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	if !filepath.IsAbs(in.File) {
		return fmt.Errorf("%w: file is an absolute path on the gateway's machine", errRequest)
	}
	if c.ground.copier == nil {
		return errBackupElsewhere
	}
	c.mayTakeLong()
	s, err := c.ground.copier.run(c.r.Context(), filepath.Clean(in.File))
	switch {
	case errors.Is(err, errBackupRuns), errors.Is(err, errBackupFile), errors.Is(err, fs.ErrExist):
		err = apiError(http.StatusConflict, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		err = apiError(http.StatusBadRequest, err)
	}
	c.audit("store.backup", in.File, err, slog.Int64("bytes", s.Bytes))
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, s)
}

func showBackup(c call) error {
	if c.ground.copier == nil {
		return errBackupElsewhere
	}
	return c.write(http.StatusOK, c.ground.copier.state())
}

// errBackupElsewhere refuses where the database has its own ways.
var errBackupElsewhere = apiError(http.StatusNotImplemented,
	errors.New("a PostgreSQL store is backed up by PostgreSQL's own means (pg_dump, WAL archiving); see docs/operations.md"))

// mayTakeLong lets a request whose body was read take more time than the admin
// endpoint gives to the reading: its deadline would end the request's context.
func (c call) mayTakeLong() {
	if err := http.NewResponseController(c.w).SetReadDeadline(time.Time{}); err != nil {
		c.log.Warn("an operator's request may be cut off", slog.Any("error", err))
	}
}

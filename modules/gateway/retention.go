package gateway

import (
	"context"
	"log/slog"
	"time"
)

const (
	// sweepEvery is how often lapsed idempotency keys are looked for.
	sweepEvery = 10 * time.Minute
	// sweepBite is how many are deleted in one transaction, so that payments
	// never wait long for it.
	sweepBite = 500
)

// retain forgets what has lapsed until ctx ends.
func retain(ctx context.Context, g *ground, log *slog.Logger) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := sweepAll(ctx, g, now); err != nil && ctx.Err() == nil {
				log.Warn("lapsed idempotency keys stay for now", slog.String("error", err.Error()))
			}
		}
	}
}

// sweepAll deletes bite by bite until nothing is left that has lapsed.
func sweepAll(ctx context.Context, g *ground, now time.Time) error {
	for ctx.Err() == nil {
		n, err := g.sweep(ctx, now, sweepBite)
		if err != nil || n < sweepBite {
			return err
		}
	}
	return ctx.Err()
}

package sqlite

import (
	"errors"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

// Enqueue implements [store.Tx].
func (t *tx) Enqueue(q store.Queue, i store.Item) error {
	b := t.c.bind(qEnqueue)
	b.text(string(q))
	b.text(i.ID)
	b.time(i.Due)
	b.int(int64(i.Tries))
	b.blob(i.Payload)
	_, err := t.wrote("enqueue", &b)
	return err
}

// Dequeue implements [store.Tx].
func (t *tx) Dequeue(q store.Queue, id string) error {
	b := t.c.bind(qDequeue)
	b.text(string(q))
	b.text(id)
	_, err := t.wrote("dequeue", &b)
	return err
}

func (r *reader) due(q store.Queue) (time.Time, bool, error) {
	b := r.c.bind(qDue)
	b.text(string(q))
	ok, err := b.row()
	if err != nil || !ok {
		return time.Time{}, false, fault("look at queue", err)
	}
	defer b.reset()
	return column(b.s, 0), true, nil
}

func (t *tx) lease(q store.Queue, now time.Time, limit int, hold time.Duration) ([]store.Item, error) {
	items, err := t.dueItems(q, now, limit)
	if err != nil {
		return nil, err
	}
	for i := range items {
		items[i].Due = time.UnixMilli(now.Add(hold).UnixMilli()).UTC()
		items[i].Tries++
		b := t.c.bind(qHand)
		b.time(items[i].Due)
		b.int(int64(items[i].Tries))
		b.text(string(q))
		b.text(items[i].ID)
		if _, err := t.wrote("lease", &b); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (r *reader) dueItems(q store.Queue, now time.Time, limit int) ([]store.Item, error) {
	b := r.c.bind(qDueItems)
	b.text(string(q))
	b.time(now)
	b.int(int64(limit))
	var items []store.Item
	for {
		ok, err := b.row()
		if err != nil || !ok {
			return items, fault("read queue", err)
		}
		items = append(items, store.Item{
			ID: b.s.ColumnText(0), Tries: b.s.ColumnInt(1), Payload: b.s.ColumnBlob(2, nil),
		})
	}
}

func (t *tx) beat() error {
	b := t.c.bind(qBeat)
	_, err := t.wrote("heartbeat", &b)
	return err
}

// takeOver ends what earlier owners of the file have left half done. It runs
// before the writer does.
func (c *conn) takeOver(now time.Time) error {
	t := &tx{reader: reader{c}}
	if err := c.exec(qBeginImmediate); err != nil {
		return err
	}
	b := c.bind(qRecoverNow)
	b.time(now)
	b.text(string(store.Recover))
	if _, err := t.wrote("recover now", &b); err != nil {
		return errors.Join(err, c.end())
	}
	b = c.bind(qEndLeases)
	b.time(now)
	if _, err := t.wrote("end leases", &b); err != nil {
		return errors.Join(err, c.end())
	}
	return c.exec(qCommit)
}

// Return implements [store.Tx].
func (t *tx) Return(q store.Queue, i store.Item, next *store.Item) error {
	query := qReturn
	if next != nil {
		query = qMove
	}
	b := t.c.bind(query)
	if next != nil {
		b.time(next.Due)
		b.int(int64(next.Tries))
		b.blob(next.Payload)
	}
	b.text(string(q))
	b.text(i.ID)
	b.time(i.Due)
	b.int(int64(i.Tries))
	_, err := t.wrote("return", &b)
	return err
}

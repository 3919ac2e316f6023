package postgres

// The reads. Within an update, one for a record has a lock appended where the
// record can change.
const (
	qPayment       = `SELECT p.data, p.version FROM payments AS p WHERE p.id = $1`
	qRefundPayment = `SELECT p.data, p.version FROM refunds AS r JOIN payments AS p ON p.id = r.payment WHERE r.id = $1`
	qUnresolved    = `SELECT account, count(*), min(created) FROM payments WHERE outcome = 'unknown' AND outcome <> 'known'
		GROUP BY account ORDER BY account`
	// The first account from $1 on, by the index: an EXISTS would read the whole
	// table for an account without payments, in the hope of meeting one soon.
	qActive = `SELECT (SELECT account FROM payments WHERE account >= $1 AND active ORDER BY account LIMIT 1) IS NOT DISTINCT FROM $1
		OR (SELECT account FROM holdings WHERE account >= $1 ORDER BY account LIMIT 1) IS NOT DISTINCT FROM $1`
	qRef = `SELECT payment, attempt FROM refs WHERE account = $1 AND reference = $2`
	qKey = `SELECT fingerprint, payment, object, lease, status, success, content_type, body, expires
		FROM idempotency_keys WHERE merchant = $1 AND mode = $2 AND key = $3`
	qEvent            = `SELECT ` + eventColumns + ` FROM events AS t WHERE t.id = $1`
	qEndpoint         = `SELECT p.data, p.version FROM endpoints AS p WHERE p.id = $1`
	qEndpoints        = `SELECT data, version FROM endpoints WHERE merchant = $1 AND mode = ANY ($2) ORDER BY created, id`
	qAllEndpoints     = `SELECT data, version FROM endpoints WHERE mode = ANY ($1) ORDER BY created, id`
	qMerchant         = `SELECT data FROM merchants WHERE id = $1`
	qSomeMerchants    = `SELECT data FROM merchants WHERE id = ANY ($1)`
	qMerchants        = `SELECT data FROM merchants ORDER BY created, id`
	qAccessKey        = `SELECT ` + accessKeyColumns + ` FROM api_keys WHERE id = $1`
	qAccessKeys       = `SELECT ` + accessKeyColumns + ` FROM api_keys WHERE merchant = $1 ORDER BY created, id`
	qSomeAccessKeys   = `SELECT ` + accessKeyColumns + ` FROM api_keys WHERE id = ANY ($1)`
	qAllAccessKeys    = `SELECT ` + accessKeyColumns + ` FROM api_keys ORDER BY created, id`
	qTokenRevocation  = `SELECT ` + tokenRevocationColumns + ` FROM token_revocations WHERE issuer = $1 AND claim = $2 AND value = $3`
	qTokenRevocations = `SELECT ` + tokenRevocationColumns + ` FROM token_revocations ORDER BY revoked, issuer, claim, value`
	qSetting          = `SELECT value FROM settings WHERE name = $1`

	deliveryColumns = `t.id, t.merchant, t.mode, t.endpoint, t.event, t.type, t.try, t.delivered, t.status, t.error,
		t.took, t.next, t.created`
	accessKeyColumns       = `data, hash, pepper, allow_ip, signing, signing_key, last_used`
	tokenRevocationColumns = `issuer, claim, value, revoked` //nolint:gosec // G101: names of columns
	eventColumns           = `t.id, t.type, t.merchant, t.mode, t.payment, t.sequence, t.created, t.object`
)

// The queue, and what else is a transaction of its own.
const (
	qDue   = `SELECT due FROM queue WHERE queue = $1 ORDER BY due, id LIMIT 1`
	qLease = `WITH picked AS MATERIALIZED (
			SELECT q.id, q.due FROM queue AS q WHERE q.queue = $1 AND q.due <= $2
			ORDER BY q.due, q.id LIMIT $3 FOR UPDATE SKIP LOCKED)
		UPDATE queue AS t SET due = $4, tries = t.tries + 1 FROM picked
		WHERE t.queue = $1 AND t.id = picked.id
		RETURNING t.id, t.tries, t.payload, picked.due`
	qSweepKeys = `DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY (
		SELECT ctid FROM idempotency_keys WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED))`
	qSweepDeliveries = `DELETE FROM deliveries WHERE ctid = ANY (ARRAY (
		SELECT ctid FROM deliveries WHERE created <= $1 ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED))`
	qSweepNonces = `DELETE FROM nonces WHERE ctid = ANY (ARRAY (
		SELECT ctid FROM nonces WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED))`
	qSweepCounters = `DELETE FROM counters WHERE ctid = ANY (ARRAY (
		SELECT ctid FROM counters WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED))`
	qSweepTokenRevocations = `DELETE FROM token_revocations WHERE ctid = ANY (ARRAY (
		SELECT ctid FROM token_revocations WHERE revoked <= $1 ORDER BY revoked LIMIT $2 FOR UPDATE SKIP LOCKED))`
	qSpendNonce = `INSERT INTO nonces (digest, expires, spender) VALUES ($1, $2, $4)
		ON CONFLICT (digest) DO UPDATE SET expires = excluded.expires, spender = excluded.spender
		WHERE nonces.expires <= $3 OR nonces.spender = excluded.spender`
	qBeat = `UPDATE heartbeat SET beat = beat + 1`
)

// write is a statement in two forms: the bold one fails on the server where it
// does not find what it expects, so that COMMIT can follow it unseen; the
// careful one says how many rows it touched.
type write struct{ bold, careful string }

// must makes a write fail, by a division, unless it touches a row.
func must(sql string) string { return `WITH w AS (` + sql + ` RETURNING 1) SELECT 1 / count(*) FROM w` }

// inserts fails by its constraint where the row is there.
func inserts(sql string) write { return write{bold: sql, careful: sql + ` ON CONFLICT DO NOTHING`} }

func updates(sql string) write { return write{bold: must(sql), careful: sql} }

// always cannot miss.
func always(sql string) write { return write{bold: sql, careful: sql} }

const (
	insertKey = `INSERT INTO idempotency_keys
			(merchant, mode, key, fingerprint, payment, object, lease, status, success, content_type, body, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
	insertEvent = `INSERT INTO events (id, type, merchant, mode, payment, sequence, created, object)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
)

var (
	wInsertPayment = inserts(`INSERT INTO payments
			(id, version, status, outcome, reference, account, active, data, merchant, mode, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`)
	wUpdatePayment = updates(`UPDATE payments
		SET version = $2, status = $3, outcome = $4, reference = $5, account = $6, active = $7, data = $8
		WHERE id = $1 AND version = $2::bigint - 1`)
	// The last condition keeps a refund that did not change from being written,
	// and one payment from taking another's.
	wPutRefund = always(`INSERT INTO refunds AS t (id, payment, merchant, mode, status, outcome, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, outcome = excluded.outcome
		WHERE t.payment = excluded.payment AND (t.status, t.outcome) <> (excluded.status, excluded.outcome)`)
	wPutHoldings = always(`WITH kept AS (
			INSERT INTO holdings (payment, account) SELECT $1::text, unnest($2::text[]) ON CONFLICT DO NOTHING)
		DELETE FROM holdings WHERE payment = $1 AND account <> ALL ($2::text[])`)
	wPutRef = inserts(`INSERT INTO refs (account, reference, payment, attempt) VALUES ($1, $2, $3, $4)`)

	wClaimKey = write{bold: insertKey, careful: insertKey + `
		ON CONFLICT (merchant, mode, key) DO UPDATE SET fingerprint = excluded.fingerprint, payment = excluded.payment,
			object = excluded.object, lease = excluded.lease, status = excluded.status, success = excluded.success,
			content_type = excluded.content_type, body = excluded.body, expires = excluded.expires
		WHERE idempotency_keys.expires <= $13`}
	wPutKey = updates(`UPDATE idempotency_keys SET fingerprint = $4, payment = $5, object = $6, lease = $7, status = $8,
			success = $9, content_type = $10, body = $11, expires = $12
		WHERE merchant = $1 AND mode = $2 AND key = $3 AND status = 0`)
	wDeleteKey = always(`DELETE FROM idempotency_keys WHERE merchant = $1 AND mode = $2 AND key = $3 AND lease = $4 AND status = 0`)

	wPutEvent = inserts(insertEvent)
	// An endpoint that names no types wants all of them.
	wFanOut = always(`INSERT INTO queue (queue, id, due, tries)
		SELECT $1, $2::text || '/' || id, $3, 0 FROM endpoints
		WHERE merchant = $4 AND mode = $5 AND enabled AND (types = '{}' OR $6::text = ANY (types))
		ON CONFLICT DO NOTHING`)
	wInsertEndpoint = inserts(`INSERT INTO endpoints (id, version, enabled, types, data, merchant, mode, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`)
	wUpdateEndpoint = updates(`UPDATE endpoints SET version = $2, enabled = $3, types = $4, data = $5
		WHERE id = $1 AND version = $2::bigint - 1`)
	wDeleteEndpoint = updates(`DELETE FROM endpoints WHERE id = $1`)
	wPutDelivery    = inserts(`INSERT INTO deliveries
			(id, merchant, mode, endpoint, event, type, try, delivered, status, error, took, next, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`)

	wEnqueue = always(`INSERT INTO queue (queue, id, due, tries, payload) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (queue, id) DO UPDATE SET due = excluded.due, tries = excluded.tries, payload = excluded.payload`)
	wReturn  = always(`DELETE FROM queue WHERE queue = $1 AND id = $2 AND due = $3 AND tries = $4`)
	wMove    = always(`UPDATE queue SET due = $5, tries = $6, payload = $7 WHERE queue = $1 AND id = $2 AND due = $3 AND tries = $4`)
	wDequeue = always(`DELETE FROM queue WHERE queue = $1 AND id = $2`)

	wPutNonce = updates(`INSERT INTO nonces (digest, expires, spender) VALUES ($1, $2, 0)
		ON CONFLICT (digest) DO UPDATE SET expires = excluded.expires, spender = 0 WHERE nonces.expires <= $3`)
	wPutCounter = always(`UPDATE counters SET total = $2, expires = $3 WHERE name = $1`)

	wPutMerchant = always(`INSERT INTO merchants (id, created, data) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET created = excluded.created, data = excluded.data`)
	wPutAPIKey = always(`INSERT INTO api_keys (id, merchant, created, hash, data, pepper, allow_ip, signing, signing_key)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET merchant = excluded.merchant, created = excluded.created, hash = excluded.hash,
			data = excluded.data, pepper = excluded.pepper, allow_ip = excluded.allow_ip, signing = excluded.signing,
			signing_key = excluded.signing_key`)
	wUseAPIKey          = always(`UPDATE api_keys SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)`)
	wPutTokenRevocation = always(`INSERT INTO token_revocations AS t (issuer, claim, value, revoked) VALUES ($1, $2, $3, $4)
		ON CONFLICT (issuer, claim, value) DO UPDATE SET revoked = excluded.revoked WHERE t.revoked < excluded.revoked`)
	wPutSetting = always(`INSERT INTO settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`)
	wNotify = always(`SELECT pg_notify(` + channel + `, $1)`)
)

// A counter is locked by an insert that, where the row is there, locks it and
// changes nothing, as the manual promises of ON CONFLICT DO UPDATE. Then it can be
// read.
const (
	qLockCounter = `INSERT INTO counters (name, total, expires) VALUES ($1, 0, $2)
		ON CONFLICT (name) DO UPDATE SET total = counters.total WHERE false`
	qCounter = `SELECT total, expires FROM counters WHERE name = $1`
)

// checks fail, by a division, unless a record still has the version that was
// read; the lock keeps it so until the commit.
var checks = map[string]string{
	"payments":  `SELECT 1 / count(*) FROM (SELECT FROM payments WHERE id = $1 AND version = $2 FOR SHARE) AS t`,
	"endpoints": `SELECT 1 / count(*) FROM (SELECT FROM endpoints WHERE id = $1 AND version = $2 FOR SHARE) AS t`,
}

// channel is the name on which changes are told, as SQL: of this schema alone.
const channel = `'purser_' || md5(current_schema())`

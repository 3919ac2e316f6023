package sqlite

// query is the number of a statement that every connection has prepared. Lists
// are not among them: lists.go puts their statements together from filters.
type query int

const (
	qBegin query = iota
	qBeginImmediate
	qCommit
	qRollback
	qSavepoint
	qRelease
	qRollbackTo
	qBeat

	qPayment
	qRefundPayment
	qInsertPayment
	qUpdatePayment
	qPutRefund
	qDropHoldings
	qPutHolding
	qUnresolved
	qActive
	qRef
	qPutRef

	qKey
	qClaimKey
	qPutKey
	qDeleteKey
	qSweep
	qEndLeases

	qEvent
	qPutEvent
	qFanOut
	qEndpoint
	qEndpoints
	qAllEndpoints
	qInsertEndpoint
	qUpdateEndpoint
	qDeleteEndpoint
	qPutDelivery
	qSweepDeliveries

	qPutNonce
	qSweepNonces
	qCounter
	qPutCounter
	qSweepCounters

	qDue
	qDueItems
	qHand
	qEnqueue
	qDequeue
	qReturn
	qMove
	qRecoverNow

	qMerchant
	qMerchants
	qPutMerchant
	qAPIKey
	qAPIKeys
	qAllAPIKeys
	qPutAPIKey
	qUseAPIKey
	qTokenRevocation
	qTokenRevocations
	qPutTokenRevocation
	qSweepTokenRevocations
	qSetting
	qPutSetting

	queries // how many there are
)

const apiKeyColumns = `data, hash, pepper, allow_ip, signing, signing_key, last_used` //nolint:gosec // G101: as below

var texts = [queries]string{ //nolint:gosec // G101: SQL about keys is no key
	qBegin:          `BEGIN`, // deferred: the first read takes the snapshot
	qBeginImmediate: `BEGIN IMMEDIATE`,
	qCommit:         `COMMIT`,
	qRollback:       `ROLLBACK`,
	qSavepoint:      `SAVEPOINT one`,
	qRelease:        `RELEASE one`,
	qRollbackTo:     `ROLLBACK TO one`,
	qBeat:           `UPDATE heartbeat SET beat = beat + 1`,

	qPayment: `SELECT data, version FROM payments WHERE id = ?`,
	qRefundPayment: `SELECT p.data, p.version FROM refunds AS r JOIN payments AS p ON p.id = r.payment
		WHERE r.id = ?`,
	qInsertPayment: `INSERT INTO payments (version, status, outcome, reference, account, active, data, id, merchant, mode, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	qUpdatePayment: `UPDATE payments SET version = ?, status = ?, outcome = ?, reference = ?, account = ?, active = ?, data = ?
		WHERE id = ? AND version = ?`,
	// The last condition keeps a refund that did not change from being written,
	// and one payment from taking another's.
	qPutRefund: `INSERT INTO refunds (id, payment, merchant, mode, status, outcome, created) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, outcome = excluded.outcome
		WHERE payment = excluded.payment AND (status <> excluded.status OR outcome <> excluded.outcome)`,
	qDropHoldings: `DELETE FROM holdings WHERE payment = ?`,
	qPutHolding:   `INSERT INTO holdings (payment, account) VALUES (?, ?) ON CONFLICT DO NOTHING`,
	qUnresolved: `SELECT account, count(*), min(created) FROM payments WHERE outcome = 'unknown'
		GROUP BY account ORDER BY account`,
	qActive: `SELECT EXISTS (SELECT 1 FROM payments WHERE account = ?1 AND active)
		OR EXISTS (SELECT 1 FROM holdings WHERE account = ?1)`,
	qRef:    `SELECT payment, attempt FROM refs WHERE account = ? AND reference = ?`,
	qPutRef: `INSERT INTO refs (account, reference, payment, attempt) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,

	qKey: `SELECT fingerprint, payment, object, lease, status, success, content_type, body, expires
		FROM idempotency_keys WHERE merchant = ? AND mode = ? AND key = ?`,
	qClaimKey: `INSERT INTO idempotency_keys
			(fingerprint, payment, object, lease, status, success, content_type, body, expires, merchant, mode, key)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (merchant, mode, key) DO UPDATE SET fingerprint = excluded.fingerprint, payment = excluded.payment,
			object = excluded.object, lease = excluded.lease, status = excluded.status, success = excluded.success,
			content_type = excluded.content_type, body = excluded.body, expires = excluded.expires
		WHERE expires <= ?`,
	qPutKey: `UPDATE idempotency_keys SET fingerprint = ?, payment = ?, object = ?, lease = ?, status = ?, success = ?,
			content_type = ?, body = ?, expires = ?
		WHERE merchant = ? AND mode = ? AND key = ? AND status = 0`,
	qDeleteKey: `DELETE FROM idempotency_keys WHERE merchant = ? AND mode = ? AND key = ? AND lease = ? AND status = 0`,
	qSweep: `DELETE FROM idempotency_keys WHERE n IN
		(SELECT n FROM idempotency_keys WHERE expires <= ? ORDER BY expires LIMIT ?)`,
	qEndLeases: `UPDATE idempotency_keys SET lease = ?1 WHERE status = 0 AND lease > ?1`,

	qEvent: `SELECT id, type, merchant, mode, payment, sequence, created, object FROM events WHERE id = ?`,
	qPutEvent: `INSERT INTO events (id, type, merchant, mode, payment, sequence, created, object)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	// An endpoint that names no types wants all of them. The separators stand
	// around each name, so that one name is not found inside another.
	qFanOut: `INSERT INTO queue (queue, id, due, tries, payload)
		SELECT ?1, ?2 || '/' || id, ?3, 0, NULL FROM endpoints
		WHERE merchant = ?4 AND mode = ?5 AND enabled AND (types = '' OR instr(types, ' ' || ?6 || ' ') > 0)
		ON CONFLICT DO NOTHING`,
	qEndpoint:     `SELECT data, version FROM endpoints WHERE id = ?`,
	qEndpoints:    `SELECT data, version FROM endpoints WHERE merchant = ? AND mode = ? ORDER BY created, id`,
	qAllEndpoints: `SELECT data, version FROM endpoints ORDER BY created, id`,
	qInsertEndpoint: `INSERT INTO endpoints (version, enabled, types, data, id, merchant, mode, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	qUpdateEndpoint: `UPDATE endpoints SET version = ?, enabled = ?, types = ?, data = ? WHERE id = ? AND version = ?`,
	qDeleteEndpoint: `DELETE FROM endpoints WHERE id = ?`,
	qPutDelivery: `INSERT INTO deliveries
			(id, merchant, mode, endpoint, event, type, try, delivered, status, error, took, next, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	qSweepDeliveries: `DELETE FROM deliveries WHERE n IN
		(SELECT n FROM deliveries WHERE created <= ? ORDER BY created LIMIT ?)`,

	qPutNonce: `INSERT INTO nonces (digest, expires) VALUES (?, ?)
		ON CONFLICT (digest) DO UPDATE SET expires = excluded.expires WHERE expires <= ?`,
	qSweepNonces: `DELETE FROM nonces WHERE digest IN
		(SELECT digest FROM nonces WHERE expires <= ? ORDER BY expires LIMIT ?)`,
	qCounter: `SELECT total, expires FROM counters WHERE name = ?`,
	qPutCounter: `INSERT INTO counters (name, total, expires) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET total = excluded.total, expires = excluded.expires`,
	qSweepCounters: `DELETE FROM counters WHERE name IN
		(SELECT name FROM counters WHERE expires <= ? ORDER BY expires LIMIT ?)`,

	qDue:      `SELECT due FROM queue WHERE queue = ? ORDER BY due LIMIT 1`,
	qDueItems: `SELECT id, tries, payload FROM queue WHERE queue = ? AND due <= ? ORDER BY due, id LIMIT ?`,
	qHand:     `UPDATE queue SET due = ?, tries = ? WHERE queue = ? AND id = ?`,
	qEnqueue: `INSERT INTO queue (queue, id, due, tries, payload) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET due = excluded.due, tries = excluded.tries, payload = excluded.payload`,
	qDequeue:    `DELETE FROM queue WHERE queue = ? AND id = ?`,
	qReturn:     `DELETE FROM queue WHERE queue = ? AND id = ? AND due = ? AND tries = ?`,
	qMove:       `UPDATE queue SET due = ?, tries = ?, payload = ? WHERE queue = ? AND id = ? AND due = ? AND tries = ?`,
	qRecoverNow: `UPDATE queue SET due = ?1 WHERE queue = ?2 AND due > ?1`,

	qMerchant:  `SELECT data FROM merchants WHERE id = ?`,
	qMerchants: `SELECT data FROM merchants ORDER BY created, id`,
	qPutMerchant: `INSERT INTO merchants (id, created, data) VALUES (?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET created = excluded.created, data = excluded.data`,
	qAPIKey:     `SELECT ` + apiKeyColumns + ` FROM api_keys WHERE id = ?`,
	qAPIKeys:    `SELECT ` + apiKeyColumns + ` FROM api_keys WHERE merchant = ? ORDER BY created, id`,
	qAllAPIKeys: `SELECT ` + apiKeyColumns + ` FROM api_keys ORDER BY created, id`,
	qPutAPIKey: `INSERT INTO api_keys (id, merchant, created, hash, pepper, allow_ip, signing, signing_key, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET merchant = excluded.merchant, created = excluded.created, hash = excluded.hash,
			pepper = excluded.pepper, allow_ip = excluded.allow_ip, signing = excluded.signing,
			signing_key = excluded.signing_key, data = excluded.data`,
	qUseAPIKey: `UPDATE api_keys SET last_used = ?2 WHERE id = ?1 AND (last_used IS NULL OR last_used < ?2)`,
	qTokenRevocation: `SELECT issuer, claim, value, revoked FROM token_revocations
		WHERE issuer = ? AND claim = ? AND value = ?`,
	qTokenRevocations: `SELECT issuer, claim, value, revoked FROM token_revocations ORDER BY revoked, issuer, claim, value`,
	qPutTokenRevocation: `INSERT INTO token_revocations (issuer, claim, value, revoked) VALUES (?, ?, ?, ?)
		ON CONFLICT (issuer, claim, value) DO UPDATE SET revoked = excluded.revoked WHERE revoked < excluded.revoked`,
	qSweepTokenRevocations: `DELETE FROM token_revocations WHERE (issuer, claim, value) IN
		(SELECT issuer, claim, value FROM token_revocations WHERE revoked <= ? ORDER BY revoked LIMIT ?)`,
	qSetting: `SELECT value FROM settings WHERE name = ?`,
	qPutSetting: `INSERT INTO settings (name, value) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
}

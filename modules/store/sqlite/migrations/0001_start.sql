-- +goose Up

-- Times are milliseconds of the Unix epoch. Lists run by (created, n), newest
-- first; n is the order of insertion and tells rows of one millisecond apart.
-- Every index of a list ends in created, and SQLite appends n to it by itself.

CREATE TABLE payments (
    n         INTEGER PRIMARY KEY,
    id        TEXT    NOT NULL UNIQUE,
    merchant  TEXT    NOT NULL,
    mode      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    status    TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    reference TEXT    NOT NULL,
    account   TEXT    NOT NULL, -- of the attempt on which the payment now rests
    active    INTEGER NOT NULL, -- 1: not terminal, in doubt, or refundable
    created   INTEGER NOT NULL,
    data      TEXT    NOT NULL  -- the whole payment but its version, JSON
) STRICT;
CREATE INDEX payments_created   ON payments (created);
CREATE INDEX payments_merchant  ON payments (merchant, mode, created);
CREATE INDEX payments_status    ON payments (merchant, mode, status, created);
CREATE INDEX payments_reference ON payments (merchant, mode, reference, created) WHERE reference <> '';
-- Payments in doubt are few at any time, so one index serves all merchants.
CREATE INDEX payments_doubt     ON payments (outcome, created) WHERE outcome <> 'known';
CREATE INDEX payments_unknown   ON payments (account, created) WHERE outcome = 'unknown';
CREATE INDEX payments_active    ON payments (account) WHERE active;

-- The accounts beside the current one that a payment still rests on, as after
-- money was proven on an attempt that had been given up. Mostly empty.
CREATE TABLE holdings (
    payment TEXT NOT NULL REFERENCES payments (id),
    account TEXT NOT NULL,
    PRIMARY KEY (payment, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX holdings_account ON holdings (account);

CREATE TABLE refunds (
    n        INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    payment  TEXT    NOT NULL REFERENCES payments (id),
    merchant TEXT    NOT NULL,
    mode     TEXT    NOT NULL,
    status   TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    created  INTEGER NOT NULL
) STRICT;
CREATE INDEX refunds_created  ON refunds (created);
CREATE INDEX refunds_merchant ON refunds (merchant, mode, created);
CREATE INDEX refunds_status   ON refunds (merchant, mode, status, created);
CREATE INDEX refunds_payment  ON refunds (payment, created);
CREATE INDEX refunds_doubt    ON refunds (outcome, created) WHERE outcome <> 'known';

CREATE TABLE refs (
    account   TEXT NOT NULL,
    reference TEXT NOT NULL,
    payment   TEXT NOT NULL,
    attempt   TEXT NOT NULL,
    PRIMARY KEY (account, reference)
) STRICT, WITHOUT ROWID;

-- Answers are kilobytes and keys are random: WITHOUT ROWID would spread the
-- answers over the whole tree and read one page of it for every four keys.
CREATE TABLE idempotency_keys (
    n            INTEGER PRIMARY KEY,
    merchant     TEXT    NOT NULL,
    mode         TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    fingerprint  BLOB    NOT NULL,
    payment      TEXT    NOT NULL,
    object       TEXT    NOT NULL,
    lease        INTEGER NOT NULL,
    status       INTEGER NOT NULL, -- 0: still running
    success      INTEGER NOT NULL,
    content_type TEXT    NOT NULL,
    body         BLOB,
    expires      INTEGER NOT NULL,
    UNIQUE (merchant, mode, key)
) STRICT;
CREATE INDEX idempotency_keys_expires ON idempotency_keys (expires);
CREATE INDEX idempotency_keys_running ON idempotency_keys (lease) WHERE status = 0;

CREATE TABLE events (
    n        INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    type     TEXT    NOT NULL,
    merchant TEXT    NOT NULL,
    mode     TEXT    NOT NULL,
    payment  TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    object   BLOB
) STRICT;
CREATE INDEX events_created  ON events (created);
CREATE INDEX events_merchant ON events (merchant, mode, created);
CREATE INDEX events_type     ON events (merchant, mode, type, created);
CREATE INDEX events_payment  ON events (payment, created);

CREATE TABLE queue (
    queue   TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    due     INTEGER NOT NULL,
    tries   INTEGER NOT NULL,
    payload BLOB,
    PRIMARY KEY (queue, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_due ON queue (queue, due, id);

CREATE TABLE merchants (
    id      TEXT    NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    data    TEXT    NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id       TEXT    NOT NULL PRIMARY KEY,
    merchant TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    data     TEXT    NOT NULL -- the key without its hash
) STRICT;
CREATE INDEX api_keys_merchant ON api_keys (merchant, created, id);

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row that is written only to learn whether writing works.
CREATE TABLE heartbeat (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    beat INTEGER NOT NULL
) STRICT;
INSERT INTO heartbeat VALUES (1, 0);

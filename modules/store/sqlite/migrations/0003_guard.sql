-- +goose Up

-- What was used once and must not be used again: the digest of a nonce and of the
-- space that it is unique in.
CREATE TABLE nonces (
    digest  BLOB    NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_expires ON nonces (expires);

-- Sums that have limits.
CREATE TABLE counters (
    name    TEXT    NOT NULL PRIMARY KEY,
    total   INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX counters_expires ON counters (expires);

ALTER TABLE api_keys ADD COLUMN pepper      TEXT NOT NULL DEFAULT ''; -- the ID of the pepper of hash; '': not noted
ALTER TABLE api_keys ADD COLUMN allow_ip    TEXT NOT NULL DEFAULT ''; -- networks, with a space between them; '': from anywhere
ALTER TABLE api_keys ADD COLUMN signing     TEXT NOT NULL DEFAULT ''; -- an algorithm; '': the key does not sign
ALTER TABLE api_keys ADD COLUMN signing_key BLOB;                     -- a public key, or a secret, sealed
ALTER TABLE api_keys ADD COLUMN last_used   INTEGER;

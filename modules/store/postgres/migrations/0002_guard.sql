-- +goose Up

-- What was used once and must not be used again. Nearly every row dies young.
CREATE TABLE nonces (
    digest  bytea       PRIMARY KEY, -- of the nonce and the space that it is unique in
    expires timestamptz NOT NULL,
    spender bigint      NOT NULL -- who sends a statement twice is known by it; 0: part of a larger transaction
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000);
CREATE INDEX nonces_expires ON nonces (expires);

-- Sums that have limits. A row is changed with every payment that counts, and
-- touches no index where there is room in its page.
CREATE TABLE counters (
    name    text        COLLATE "C" PRIMARY KEY,
    total   bigint      NOT NULL,
    expires timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX counters_expires ON counters (expires);

-- Columns, not members of data: a node of the release before, which revokes or
-- rotates a key while this one is rolled out, writes data as it knows it, and
-- leaves these alone.
ALTER TABLE api_keys
    ADD COLUMN pepper      text   COLLATE "C" NOT NULL DEFAULT '',   -- the ID of the pepper of hash; '': not noted
    ADD COLUMN allow_ip    text[] COLLATE "C" NOT NULL DEFAULT '{}', -- networks; none: from anywhere
    ADD COLUMN signing     text   COLLATE "C" NOT NULL DEFAULT '',   -- an algorithm; '': the key does not sign
    ADD COLUMN signing_key bytea,                                    -- a public key, or a secret, sealed
    ADD COLUMN last_used   timestamptz;

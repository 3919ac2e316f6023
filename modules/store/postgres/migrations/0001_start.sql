-- +goose Up

-- Text sorts by its bytes (COLLATE "C"), whatever the database's locale is.
-- Times outside a payment's own record are whole milliseconds. Lists run by
-- (created, n), newest first: n is the order of insertion and tells rows of one
-- millisecond apart, so each index of a list ends in both.

-- toast_tuple_target keeps payments of up to 4 KB in the row, uncompressed. Free
-- room in a page takes later versions of its rows; those that do not change the
-- status then touch no index.
CREATE TABLE payments (
    n         bigint      GENERATED ALWAYS AS IDENTITY,
    id        text        COLLATE "C" PRIMARY KEY,
    merchant  text        COLLATE "C" NOT NULL,
    mode      text        COLLATE "C" NOT NULL,
    version   bigint      NOT NULL,
    status    text        COLLATE "C" NOT NULL,
    outcome   text        COLLATE "C" NOT NULL,
    reference text        COLLATE "C" NOT NULL,
    account   text        COLLATE "C" NOT NULL, -- of the attempt on which the payment now rests
    active    boolean     NOT NULL,             -- not terminal, in doubt, or refundable
    created   timestamptz NOT NULL,
    data      json        NOT NULL              -- the whole payment but its version
) WITH (fillfactor = 85, toast_tuple_target = 4080);
CREATE INDEX payments_created   ON payments (created, n);
CREATE INDEX payments_merchant  ON payments (merchant, mode, created, n);
CREATE INDEX payments_status    ON payments (merchant, mode, status, created, n);
CREATE INDEX payments_reference ON payments (merchant, mode, reference, created, n) WHERE reference <> '';
-- Payments in doubt are few at any time, so one index serves all merchants.
CREATE INDEX payments_doubt     ON payments (outcome, created, n) WHERE outcome <> 'known';
CREATE INDEX payments_active    ON payments (account) WHERE active;

-- The accounts beside the current one that a payment still rests on, as after
-- money was proven on an attempt that had been given up. Mostly empty.
CREATE TABLE holdings (
    payment text COLLATE "C" NOT NULL REFERENCES payments (id),
    account text COLLATE "C" NOT NULL,
    PRIMARY KEY (payment, account)
);
CREATE INDEX holdings_account ON holdings (account);

CREATE TABLE refunds (
    n        bigint      GENERATED ALWAYS AS IDENTITY,
    id       text        COLLATE "C" PRIMARY KEY,
    payment  text        COLLATE "C" NOT NULL REFERENCES payments (id),
    merchant text        COLLATE "C" NOT NULL,
    mode     text        COLLATE "C" NOT NULL,
    status   text        COLLATE "C" NOT NULL,
    outcome  text        COLLATE "C" NOT NULL,
    created  timestamptz NOT NULL
);
CREATE INDEX refunds_created  ON refunds (created, n);
CREATE INDEX refunds_merchant ON refunds (merchant, mode, created, n);
CREATE INDEX refunds_status   ON refunds (merchant, mode, status, created, n);
CREATE INDEX refunds_payment  ON refunds (payment, created, n);
CREATE INDEX refunds_doubt    ON refunds (outcome, created, n) WHERE outcome <> 'known';

-- Rows are never changed and never deleted; the store relies on that.
CREATE TABLE refs (
    account   text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    payment   text COLLATE "C" NOT NULL,
    attempt   text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, reference)
);

-- The answer is written once, soon after the claim, and touches no index where
-- there is room for it in the page.
CREATE TABLE idempotency_keys (
    merchant     text        COLLATE "C" NOT NULL,
    mode         text        COLLATE "C" NOT NULL,
    key          text        COLLATE "C" NOT NULL,
    fingerprint  bytea       NOT NULL,
    payment      text        COLLATE "C" NOT NULL,
    object       text        COLLATE "C" NOT NULL,
    lease        timestamptz NOT NULL,
    status       integer     NOT NULL, -- 0: still running
    success      integer     NOT NULL,
    content_type text        COLLATE "C" NOT NULL,
    body         bytea,
    expires      timestamptz NOT NULL,
    PRIMARY KEY (merchant, mode, key)
) WITH (fillfactor = 60, toast_tuple_target = 4080);
CREATE INDEX idempotency_keys_expires ON idempotency_keys (expires);

-- Rows are never changed; the store relies on that.
CREATE TABLE events (
    n        bigint      GENERATED ALWAYS AS IDENTITY,
    id       text        COLLATE "C" PRIMARY KEY,
    type     text        COLLATE "C" NOT NULL,
    merchant text        COLLATE "C" NOT NULL,
    mode     text        COLLATE "C" NOT NULL,
    payment  text        COLLATE "C" NOT NULL,
    sequence bigint      NOT NULL,
    created  timestamptz NOT NULL,
    object   bytea
) WITH (toast_tuple_target = 4080);
CREATE INDEX events_created  ON events (created, n);
CREATE INDEX events_merchant ON events (merchant, mode, created, n);
CREATE INDEX events_type     ON events (merchant, mode, type, created, n);
CREATE INDEX events_payment  ON events (payment, created, n);

-- Nearly every row dies young. Vacuum comes by the number of the dead, so that
-- a lease never wades through them.
CREATE TABLE queue (
    queue   text        COLLATE "C" NOT NULL,
    id      text        COLLATE "C" NOT NULL,
    due     timestamptz NOT NULL,
    tries   integer     NOT NULL,
    payload bytea,
    PRIMARY KEY (queue, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000);
CREATE INDEX queue_due ON queue (queue, due, id);

CREATE TABLE merchants (
    id      text        COLLATE "C" PRIMARY KEY,
    created timestamptz NOT NULL,
    data    json        NOT NULL
);

CREATE TABLE api_keys (
    id       text        COLLATE "C" PRIMARY KEY,
    merchant text        COLLATE "C" NOT NULL,
    created  timestamptz NOT NULL,
    hash     bytea       NOT NULL,
    data     json        NOT NULL -- the key without its hash
);
CREATE INDEX api_keys_merchant ON api_keys (merchant, created, id);

CREATE TABLE settings (
    name  text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

-- Where merchants hear of events.
CREATE TABLE endpoints (
    id       text        COLLATE "C" PRIMARY KEY,
    merchant text        COLLATE "C" NOT NULL,
    mode     text        COLLATE "C" NOT NULL,
    version  bigint      NOT NULL,
    enabled  boolean     NOT NULL,
    types    text[]      COLLATE "C" NOT NULL, -- empty: all
    created  timestamptz NOT NULL,
    data     json        NOT NULL -- the whole endpoint but its version
);
CREATE INDEX endpoints_merchant ON endpoints (merchant, mode, created, id);

-- One row for each try to tell an endpoint of an event. A list names the
-- endpoint or the event, or is an operator's. Rows are never changed.
CREATE TABLE deliveries (
    n         bigint      GENERATED ALWAYS AS IDENTITY,
    id        text        COLLATE "C" PRIMARY KEY,
    merchant  text        COLLATE "C" NOT NULL,
    mode      text        COLLATE "C" NOT NULL,
    endpoint  text        COLLATE "C" NOT NULL,
    event     text        COLLATE "C" NOT NULL,
    type      text        COLLATE "C" NOT NULL,
    try       integer     NOT NULL,
    delivered boolean     NOT NULL,
    status    integer     NOT NULL,
    error     text        COLLATE "C" NOT NULL,
    took      bigint      NOT NULL, -- milliseconds
    next      timestamptz,
    created   timestamptz NOT NULL
);
CREATE INDEX deliveries_created  ON deliveries (created, n);
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, created, n);
CREATE INDEX deliveries_event    ON deliveries (event, created, n);

-- One row that is written only to learn whether writing works.
CREATE TABLE heartbeat (
    id   integer PRIMARY KEY CHECK (id = 1),
    beat bigint  NOT NULL
);
INSERT INTO heartbeat VALUES (1, 0);

-- A payment, an endpoint and an event belong to one merchant. The planner, which
-- would think otherwise, must not take a list of one of them for a short one.
CREATE STATISTICS refunds_owner    (dependencies) ON payment, merchant, mode FROM refunds;
CREATE STATISTICS events_owner     (dependencies) ON payment, merchant, mode FROM events;
CREATE STATISTICS deliveries_owner (dependencies) ON endpoint, event, merchant, mode FROM deliveries;

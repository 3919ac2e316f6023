-- +goose Up

-- Where merchants hear of events. types holds the names that an endpoint wants,
-- each between spaces; '' = all.
CREATE TABLE endpoints (
    id       TEXT    NOT NULL PRIMARY KEY,
    merchant TEXT    NOT NULL,
    mode     TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    enabled  INTEGER NOT NULL,
    types    TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    data     TEXT    NOT NULL -- the whole endpoint but its version, JSON
) STRICT;
CREATE INDEX endpoints_merchant ON endpoints (merchant, mode, created, id);

-- One row for each try to tell an endpoint of an event. A list always names the
-- endpoint or the event, or is an operator's.
CREATE TABLE deliveries (
    n         INTEGER PRIMARY KEY,
    id        TEXT    NOT NULL UNIQUE,
    merchant  TEXT    NOT NULL,
    mode      TEXT    NOT NULL,
    endpoint  TEXT    NOT NULL,
    event     TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    try       INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    status    INTEGER NOT NULL,
    error     TEXT    NOT NULL,
    took      INTEGER NOT NULL, -- milliseconds
    next      INTEGER,
    created   INTEGER NOT NULL
) STRICT;
CREATE INDEX deliveries_created  ON deliveries (created);
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, created);
CREATE INDEX deliveries_event    ON deliveries (event, created);

-- +goose Up

-- Access tokens that were ended before their time: by a claim and its value.
CREATE TABLE token_revocations (
    issuer  TEXT    NOT NULL,
    claim   TEXT    NOT NULL,
    value   TEXT    NOT NULL, -- '': all of the issuer
    revoked INTEGER NOT NULL,
    PRIMARY KEY (issuer, claim, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX token_revocations_revoked ON token_revocations (revoked);

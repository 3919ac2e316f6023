-- +goose Up

-- Access tokens that were ended before their time: by a claim and its value.
CREATE TABLE token_revocations (
    issuer  text        COLLATE "C" NOT NULL,
    claim   text        COLLATE "C" NOT NULL,
    value   text        COLLATE "C" NOT NULL, -- '': all of the issuer
    revoked timestamptz NOT NULL,
    PRIMARY KEY (issuer, claim, value)
);
CREATE INDEX token_revocations_revoked ON token_revocations (revoked);

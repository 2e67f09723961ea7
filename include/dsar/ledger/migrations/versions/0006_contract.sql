-- How the replies of each account differ from what its vendor's module declares.

-- One row for each difference. A name is a declared field or "HTTP 409". Never a value of a reply, except a
-- word or a code that many replies have.
CREATE TABLE dsar.reply_shape (
    account     text NOT NULL,
    route       text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('reply', 'field', 'word', 'status', 'code')),
    name        text NOT NULL,
    word        text NOT NULL,                -- empty if it may be data
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,         -- to within a day
    PRIMARY KEY (account, route, kind, name, word)
);

-- The last check of each account by dsar_upkeep.
CREATE TABLE dsar.contract_check (
    account     text PRIMARY KEY,
    checked_at  timestamptz NOT NULL,
    drift       text[] NOT NULL
);

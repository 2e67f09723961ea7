-- The ledger of privacy requests.

-- One row per request. Its outcome stays; the identifiers of the data subject do not.
CREATE TABLE dsar.request (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id     text NOT NULL UNIQUE,
    action         text NOT NULL CHECK (action IN ('access', 'erasure')),
    regulation     text NOT NULL,
    received_at    timestamptz NOT NULL,
    due_at         timestamptz NOT NULL,
    fingerprint    text NOT NULL,             -- keyed hash of what is asked: shows a changed row
    status         text NOT NULL DEFAULT 'in_progress'
                   CHECK (status IN ('in_progress', 'completed', 'partial', 'failed')),
    status_reason  text,
    planned_at     timestamptz NOT NULL,
    closed_at      timestamptz,
    export_uri     text,
    source_told    boolean NOT NULL DEFAULT false,  -- the source table has this status
    CHECK ((status = 'in_progress') = (closed_at IS NULL))
);
CREATE INDEX request_open ON dsar.request (due_at) WHERE status = 'in_progress';
CREATE INDEX request_untold ON dsar.request (id) WHERE NOT source_told;
CREATE INDEX request_closed ON dsar.request (closed_at) WHERE closed_at IS NOT NULL;

-- One row for what one request sends to one account in one call. The times of the ordinary path are columns.
-- Everything else is in dsar.event.
CREATE TABLE dsar.submission (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request        bigint NOT NULL REFERENCES dsar.request (id),
    account        text NOT NULL,
    vendor         text NOT NULL,
    identity       text NOT NULL,             -- kinds sent, joined by '+'; never a value
    identity_hash  text NOT NULL,             -- keyed
    identifiers    jsonb,                     -- {kind: value}; null when the request is closed
    state          text NOT NULL CHECK (state IN (
                       'planned', 'submitting', 'uncertain', 'submitted', 'ready',
                       'completed', 'no_data', 'not_applicable', 'rejected', 'failed')),
    reason         text,
    due_at         timestamptz NOT NULL,      -- of the request: what is due first is sent first
    not_before     timestamptz,               -- planned, but not to be sent earlier
    batch_limit    int,                       -- its last batch failed: put fewer into one call
    attempts       int NOT NULL DEFAULT 0,
    worker         int,                       -- which worker holds it while submitting
    attempted_at   timestamptz,               -- the last claim
    job_id         text,
    submitted_at   timestamptz,
    finished_at    timestamptz,
    changed_at     timestamptz NOT NULL,
    file_path      text,                      -- a collected result, below the storage's root
    file_name      text,
    file_sha256    text,
    file_bytes     bigint,
    UNIQUE (request, account, identity_hash)
);
-- Most submissions are closed. None of these indexes contains them.
CREATE INDEX submission_planned ON dsar.submission (account, due_at, id) WHERE state = 'planned';
CREATE INDEX submission_unsettled ON dsar.submission (account, state) WHERE state IN ('submitting', 'uncertain');
CREATE INDEX submission_jobs ON dsar.submission (account, state, job_id) WHERE state IN ('submitted', 'ready');
CREATE INDEX submission_person ON dsar.submission (account, identity_hash)
    WHERE state IN ('planned', 'submitting', 'uncertain', 'submitted');
CREATE INDEX submission_finished ON dsar.submission (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX submission_attempted ON dsar.submission (account, attempted_at) WHERE attempted_at IS NOT NULL;

-- Moves outside the ordinary path, and their reasons. Append-only. Holds no identifier of a data subject. It
-- names the Airflow user who decided about an uncertain submission (reason: "decided by ...").
CREATE TABLE dsar.event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    request     bigint NOT NULL REFERENCES dsar.request (id),
    submission  bigint REFERENCES dsar.submission (id),
    leaves      text NOT NULL,
    enters      text NOT NULL,
    reason      text,
    attempt     int,
    job_id      text
);
CREATE INDEX event_request ON dsar.event (request, id);

CREATE FUNCTION dsar.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'dsar.event is append-only'; END$$;
CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON dsar.event
    FOR EACH ROW EXECUTE FUNCTION dsar.refuse_change();
CREATE TRIGGER event_not_emptied BEFORE TRUNCATE ON dsar.event
    FOR EACH STATEMENT EXECUTE FUNCTION dsar.refuse_change();

-- The key of the hashes if the deployment sets none.
CREATE TABLE dsar.hash_key (key text NOT NULL);
INSERT INTO dsar.hash_key VALUES (gen_random_uuid()::text || gen_random_uuid()::text);

-- The legal life of a request: rows that are no requests, holds, instructions, acknowledgements, removal.

ALTER TABLE dsar.request
    DROP CONSTRAINT request_status_check,
    ADD CONSTRAINT request_status_check CHECK (
        status IN ('in_progress', 'completed', 'partial', 'failed', 'cancelled', 'denied')),
    -- The zone in which the law counts the days: a name, or an offset such as -05:00. Null: UTC.
    ADD COLUMN zone text,
    -- The regulation as ID5 calls it. Null: nothing of this request is sent to ID5.
    ADD COLUMN jurisdiction text,
    -- When the identity of the data subject was verified.
    ADD COLUMN verified_at timestamptz,
    -- The confirmation of receipt that some laws want: until when, and when the data subject got it.
    ADD COLUMN ack_due_at timestamptz,
    ADD COLUMN ack_at timestamptz,
    -- The extension: what due_at was before, what it is now, when, and when the data subject was told.
    ADD COLUMN extended_from timestamptz,
    ADD COLUMN extended_to timestamptz,
    ADD COLUMN extended_at timestamptz,
    ADD COLUMN notice_at timestamptz,
    -- Not null: the period does not run since then. due_at moves when the hold ends.
    ADD COLUMN clock_stopped_at timestamptz,
    -- The status that an operator or the source gave. Nothing more is sent; the request closes with it.
    ADD COLUMN ends_as text CHECK (ends_as IN ('cancelled', 'denied')),
    ADD COLUMN legal_basis text,              -- of a denial
    -- No account can serve this request: it stays open until an operator has answered it.
    ADD COLUMN needs_answer boolean NOT NULL DEFAULT false,
    ADD COLUMN answered_at timestamptz,
    -- Accounts that may hold data of the data subject, and have no API for this action.
    ADD COLUMN not_asked text[] NOT NULL DEFAULT '{}',
    -- Closed, but it failed, or an account was not asked. False when an operator has resolved that.
    ADD COLUMN is_unresolved boolean NOT NULL DEFAULT false,
    -- Since when the source does not have the row of this open request.
    ADD COLUMN missing_since timestamptz,
    ADD COLUMN package_removed_at timestamptz,
    ADD CHECK ((extended_to IS NULL) = (extended_at IS NULL)),
    ADD CHECK ((extended_to IS NULL) = (extended_from IS NULL)),
    ADD CHECK (NOT (needs_answer AND closed_at IS NOT NULL)),
    ADD CHECK (NOT (is_unresolved AND closed_at IS NULL));
UPDATE dsar.request SET is_unresolved = true WHERE status IN ('failed', 'partial');
UPDATE dsar.request SET jurisdiction = regulation;  -- GDPR or CCPA, in earlier releases
CREATE INDEX request_unresolved ON dsar.request (due_at, id) WHERE is_unresolved;
CREATE INDEX request_needs_answer ON dsar.request (due_at, id) WHERE needs_answer;
CREATE INDEX request_missing ON dsar.request (missing_since) WHERE missing_since IS NOT NULL;
CREATE INDEX request_ack_due ON dsar.request (ack_due_at) WHERE ack_due_at IS NOT NULL AND ack_at IS NULL;
CREATE INDEX request_notice_due ON dsar.request (extended_at) WHERE extended_at IS NOT NULL AND notice_at IS NULL;

-- cancelled: it was not sent, because its request was cancelled or denied.
ALTER TABLE dsar.submission
    DROP CONSTRAINT submission_state_check,
    ADD CONSTRAINT submission_state_check CHECK (state IN (
        'planned', 'submitting', 'uncertain', 'submitted', 'ready',
        'completed', 'no_data', 'not_applicable', 'rejected', 'failed', 'cancelled'));
-- Finds the earlier packages of a data subject.
CREATE INDEX submission_collected ON dsar.submission (identity_hash) WHERE file_path IS NOT NULL;

ALTER TABLE dsar.event ADD COLUMN author text;  -- an Airflow user, or 'source'; null: a stage

-- A row of the source from which no request was planned, and that needs an operator. It has a due date like a
-- request. It holds no identifier.
CREATE TABLE dsar.unplanned_row (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('invalid', 'unknown')),  -- unknown: in_progress in the source,
                                              -- and not in the ledger
    row_key      text NOT NULL,               -- keyed hash of the row's request_id, or of a row without one
    request_id   text,                        -- null: it is unsafe, and may contain an identifier
    reason       text NOT NULL,
    since        timestamptz NOT NULL,        -- when it got this reason
    action       text CHECK (action IN ('access', 'erasure')),  -- null, here and below: unreadable
    regulation   text,
    received_at  timestamptz,
    due_at       timestamptz NOT NULL,        -- the shortest period, if the regulation is unreadable
    first_seen   timestamptz NOT NULL,
    last_seen    timestamptz NOT NULL,        -- by intake, as a pending row
    listed_at    timestamptz,                 -- when the source last listed it as not pending
    resolved_at  timestamptz,
    resolution   text CHECK (resolution IN ('corrected', 'dismissed', 'withdrawn')),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
CREATE UNIQUE INDEX unplanned_row_open ON dsar.unplanned_row (row_key) WHERE resolved_at IS NULL;
CREATE INDEX unplanned_row_request ON dsar.unplanned_row (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX unplanned_row_resolved ON dsar.unplanned_row (resolved_at) WHERE resolved_at IS NOT NULL;

-- The reasons why a request is not sent. request.hold_reason is the reason of the oldest hold that is not
-- released; it is what dsar.waits_for reads. A row that is released stays.
CREATE TABLE dsar.hold (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request         bigint NOT NULL REFERENCES dsar.request (id),
    kind            text NOT NULL CHECK (kind IN ('volume', 'identity_check', 'legal', 'reconciliation')),
    reason          text NOT NULL,
    author          text NOT NULL,            -- an Airflow user, 'source', or a stage
    held_at         timestamptz NOT NULL,
    stops_clock     boolean NOT NULL DEFAULT false,
    released_at     timestamptz,
    released_by     text,
    release_reason  text,
    CHECK ((released_at IS NULL) = (released_by IS NULL))
);
CREATE UNIQUE INDEX hold_active ON dsar.hold (request, kind) WHERE released_at IS NULL;
CREATE INDEX hold_request ON dsar.hold (request);
INSERT INTO dsar.hold (request, kind, reason, author, held_at)
SELECT id, 'volume', hold_reason, 'intake', planned_at FROM dsar.request WHERE hold_reason IS NOT NULL;

-- What an operator or the source said, also if it was refused. Append-only. `details` never holds an
-- identifier of a data subject.
CREATE TABLE dsar.instruction (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint    text NOT NULL UNIQUE,      -- the same instruction of the same run is recorded once
    kind           text NOT NULL,
    request        bigint REFERENCES dsar.request (id),
    unplanned_row  bigint REFERENCES dsar.unplanned_row (id),
    account        text,
    origin         text NOT NULL CHECK (origin IN ('source', 'airflow')),
    author         text NOT NULL,             -- an Airflow user and run, or 'source'
    given_at       timestamptz NOT NULL,
    reason         text,
    details        jsonb NOT NULL DEFAULT '{}',  -- until, legal_basis, outcome, job_id, identity
    decided_at     timestamptz NOT NULL,
    refused        text                       -- why it was not carried out; null: it was
);
CREATE INDEX instruction_request ON dsar.instruction (request, id) WHERE request IS NOT NULL;
CREATE INDEX instruction_row ON dsar.instruction (unplanned_row, id) WHERE unplanned_row IS NOT NULL;
CREATE INDEX instruction_decided ON dsar.instruction (decided_at);

-- The acknowledgement that is in force for an item: a request, a row, or the requests at which an account was
-- not asked. It covers only what had happened when it was given. dsar.instruction keeps all of them.
CREATE TABLE dsar.acknowledgement (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request        bigint UNIQUE REFERENCES dsar.request (id),
    unplanned_row  bigint UNIQUE REFERENCES dsar.unplanned_row (id),
    account        text UNIQUE,
    given_at       timestamptz NOT NULL,
    until          timestamptz,               -- null: for good
    author         text NOT NULL,
    reason         text NOT NULL,
    CHECK (num_nonnulls(request, unplanned_row, account) = 1)
);

-- One row for each digest that was sent, or could not be sent.
CREATE TABLE dsar.notification (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    run_id   text NOT NULL,
    channel  text NOT NULL,
    items    int NOT NULL,
    failure  text,                            -- why it could not be sent; null: it was
    UNIQUE (run_id, channel)
);

-- One row for each removal of old requests: totals only.
CREATE TABLE dsar.removal (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL,
    closed_until timestamptz NOT NULL,
    requests     bigint NOT NULL,
    submissions  bigint NOT NULL,
    events       bigint NOT NULL,
    packages     bigint NOT NULL
);

-- Whether one of these accounts was not asked, and no operator has acknowledged that for the account.
CREATE FUNCTION dsar.is_left_out(not_asked text[], moment timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM unnest(not_asked) AS one (account)
                    WHERE NOT EXISTS (SELECT FROM dsar.acknowledgement a
                                       WHERE a.account = one.account AND (a.until IS NULL OR a.until > moment)))
$$;

-- Everything that has a due date and is not done: open requests; closed requests that failed or left an
-- account out, until an operator has acknowledged that; rows that are no requests. `name` is the request_id, or
-- #<ledger id> of a row without a safe one. PostgreSQL puts the body in
-- place of the call.
CREATE FUNCTION dsar.unresolved(moment timestamptz)
RETURNS TABLE (kind text, request bigint, unplanned_row bigint, name text, due_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT 'in_progress', r.id, NULL::bigint, r.request_id,
           r.due_at + coalesce(moment - r.clock_stopped_at, interval '0')
      FROM dsar.request r WHERE r.status = 'in_progress'
    UNION ALL
    SELECT r.status, r.id, NULL, r.request_id, r.due_at
      FROM dsar.request r
     WHERE r.is_unresolved
       AND NOT EXISTS (SELECT FROM dsar.acknowledgement a
                        WHERE a.request = r.id AND a.given_at >= r.closed_at
                          AND (a.until IS NULL OR a.until > moment))
    UNION ALL
    SELECT u.kind, NULL, u.id, coalesce(u.request_id, '#' || u.id), u.due_at
      FROM dsar.unplanned_row u WHERE u.resolved_at IS NULL
$$;

-- The acknowledgement in force of a request or of a row. No row: there is none.
CREATE FUNCTION dsar.acknowledged(of_request bigint, of_row bigint, moment timestamptz)
RETURNS TABLE (given_at timestamptz, until timestamptz) LANGUAGE sql STABLE AS $$
    SELECT a.given_at, a.until FROM dsar.acknowledgement a
     WHERE (a.request = of_request OR a.unplanned_row = of_row) AND (a.until IS NULL OR a.until > moment)
$$;

-- Whether the report fails because of an item: it is not acknowledged; it happened after the acknowledgement;
-- or it came closer to its due date by one of the thresholds since the last report.
CREATE FUNCTION dsar.is_loud(
    acknowledged_at timestamptz, happened_at timestamptz, due_at timestamptz, last_report timestamptz,
    moment timestamptz, thresholds interval[])
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT acknowledged_at IS NULL OR coalesce(happened_at > acknowledged_at, false)
        OR EXISTS (SELECT FROM unnest(thresholds) AS threshold
                    WHERE due_at - threshold <= moment
                      AND due_at - threshold > coalesce(last_report, '-infinity'))
$$;

-- Removes closed requests with all that belongs to them. It leaves out requests that are open, unresolved or
-- on hold. Nothing else may delete events or instructions: the trigger looks for this function in the stack.
-- With this search_path the stack has its qualified name.
CREATE FUNCTION dsar.remove_requests(request_pks bigint[])
RETURNS TABLE (requests bigint, submissions bigint, events bigint) LANGUAGE plpgsql
SET search_path = pg_catalog AS $$
DECLARE
    removable bigint[];
BEGIN
    SELECT coalesce(array_agg(locked.id), '{}') INTO removable FROM (
        SELECT r.id FROM dsar.request r
         WHERE r.id = ANY(request_pks) AND r.closed_at IS NOT NULL AND NOT r.is_unresolved
           AND r.hold_reason IS NULL AND r.source_updated
         ORDER BY r.id FOR UPDATE) AS locked;
    DELETE FROM dsar.acknowledgement WHERE request = ANY(removable);
    DELETE FROM dsar.instruction WHERE request = ANY(removable);
    DELETE FROM dsar.hold WHERE request = ANY(removable);
    DELETE FROM dsar.event WHERE request = ANY(removable);
    GET DIAGNOSTICS events = ROW_COUNT;
    DELETE FROM dsar.submission WHERE request = ANY(removable);
    GET DIAGNOSTICS submissions = ROW_COUNT;
    DELETE FROM dsar.request WHERE id = ANY(removable);
    GET DIAGNOSTICS requests = ROW_COUNT;
    RETURN NEXT;
END$$;

CREATE OR REPLACE FUNCTION dsar.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stack text;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    IF TG_OP = 'DELETE' AND stack LIKE '%function dsar.remove_requests(bigint[])%' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'dsar.% is append-only', TG_TABLE_NAME;
END$$;
CREATE TRIGGER instruction_append_only BEFORE UPDATE OR DELETE ON dsar.instruction
    FOR EACH ROW EXECUTE FUNCTION dsar.refuse_change();
CREATE TRIGGER instruction_not_emptied BEFORE TRUNCATE ON dsar.instruction
    FOR EACH STATEMENT EXECUTE FUNCTION dsar.refuse_change();

-- When a vendor first denied a job, outcomes that wait for an operator, holds, unusual volumes, where polling
-- stopped, and what a submission waits for.

ALTER TABLE dsar.submission
    -- When the vendor first said, with an account that works, that it does not know the job. Null after any
    -- other answer about the job.
    ADD COLUMN unknown_since timestamptz,
    -- The outcome is implausible. Its request stays open until an operator confirms or discards the outcome.
    ADD COLUMN is_unconfirmed boolean NOT NULL DEFAULT false,
    -- When an operator confirmed the outcome.
    ADD COLUMN confirmed_at timestamptz;
CREATE INDEX submission_unconfirmed ON dsar.submission (account) WHERE is_unconfirmed;

-- Not null: nothing of this request may be sent, for this reason.
ALTER TABLE dsar.request ADD COLUMN hold_reason text;
CREATE INDEX request_on_hold ON dsar.request (due_at, id) WHERE hold_reason IS NOT NULL;

-- Where a poll stopped that was cut off: the next one starts there.
CREATE TABLE dsar.poll_position (
    account   text NOT NULL,
    shards    int NOT NULL,
    shard     int NOT NULL,
    position  double precision NOT NULL,
    PRIMARY KEY (account, shards, shard)
);

-- How many new submissions of a UTC day may be sent (free), and how many an operator approved that day.
CREATE TABLE dsar.volume (
    account   text NOT NULL,
    action    text NOT NULL,
    day       date NOT NULL,
    free      int NOT NULL DEFAULT 0,
    approved  int NOT NULL DEFAULT 0,
    PRIMARY KEY (account, action, day)
);
INSERT INTO dsar.volume (account, action, day, free)
SELECT s.account, r.action, (r.planned_at AT TIME ZONE 'UTC')::date, count(*)
  FROM dsar.request r JOIN dsar.submission s ON s.request = r.id
 WHERE s.state <> 'not_applicable'
 GROUP BY 1, 2, 3;

-- One row for each unusual volume that an operator must approve.
CREATE TABLE dsar.approval (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at  timestamptz NOT NULL,
    account     text NOT NULL,
    action      text NOT NULL CHECK (action IN ('access', 'erasure')),
    count       int NOT NULL,                 -- new submissions of that day, with those that were sent
    usual       int NOT NULL,                 -- in a day
    max_count   int NOT NULL,                 -- this many needed no approval
    asked_at    timestamptz,                  -- what an operator was asked gets no more submissions
    decided_at  timestamptz,
    decided_by  text,                         -- an Airflow user
    decision    text CHECK (decision IN ('approved', 'denied')),
    reason      text,
    CHECK ((decision IS NULL) = (decided_at IS NULL))
);
CREATE INDEX approval_undecided ON dsar.approval (account, action, created_at) WHERE decision IS NULL;

ALTER TABLE dsar.submission
    -- Not sent, because its volume is unusual and no operator has approved it.
    ADD COLUMN is_held boolean NOT NULL DEFAULT false,
    -- The unusual volume that it belongs to. Stays after the decision.
    ADD COLUMN approval bigint REFERENCES dsar.approval (id);
-- A claim must not read a million held submissions to find the first one that it may send.
DROP INDEX dsar.submission_planned;
CREATE INDEX submission_planned ON dsar.submission (account, due_at, id) WHERE state = 'planned' AND NOT is_held;
CREATE INDEX submission_held ON dsar.submission (approval, due_at, id) WHERE state = 'planned' AND is_held;

-- A request is closed when this is false for all its submissions.
CREATE FUNCTION dsar.keeps_request_open(submission dsar.submission) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$SELECT dsar.is_open(submission.state) OR submission.is_unconfirmed$$;

-- The submissions that a planned submission waits for before it is sent; no row: it can be sent.
--
-- 1. Itself, while it is held or its request is on hold. Then it shares no job either, and no other submission
--    that asks the same waits for it.
-- 2. Another submission that asks the same of the same account for the same data subject. Only one of them
--    is sent at a time. The planned one waits for the other's job if that job was requested after the
--    planned one was taken in: they can share it (is_shareable), since the job covers all data that was
--    there when the planned one arrived. The job of a submission that was found in a vendor's list may be
--    older than our attempt: the vendor's own time of the request counts too (submitted_at). It also waits
--    if the vendor refuses a second job for one data subject (one_job_per_subject). Of two planned ones, the
--    one that is due first is sent first.
-- 3. An access request that was received before. An erasure waits until the data of that access request is
--    collected, for any identity of its own request at this account, until last_days before it is due.
--
-- PostgreSQL puts the body in place of the call; OFFSET 0 and the scalar sub-selects make it look up each
-- submission by an index. Without them, it joins all open submissions before it takes the first: with
-- 100,000 planned submissions a claim takes seconds, or minutes if the statistics are old.
CREATE FUNCTION dsar.waits_for(
    planned dsar.submission, moment timestamptz, request_pks bigint[], one_job_per_subject boolean,
    last_days interval)
RETURNS TABLE (id bigint, job_id text, submitted_at timestamptz, is_shareable boolean)
LANGUAGE sql STABLE AS $$
    SELECT planned.id, NULL, NULL::timestamptz, false
     WHERE planned.is_held
        OR (SELECT r.hold_reason FROM dsar.request r WHERE r.id = planned.request) IS NOT NULL
    UNION ALL
    SELECT other.id, other.job_id, other.submitted_at,
           other.state = 'submitted' AND other.is_recent AND NOT planned.is_held
           AND (SELECT r.hold_reason FROM dsar.request r WHERE r.id = planned.request) IS NULL
      FROM (SELECT o.*, coalesce(least(o.attempted_at, coalesce(o.submitted_at, o.attempted_at))
                                 >= (SELECT r.planned_at FROM dsar.request r WHERE r.id = planned.request)
                                 AND o.attempted_at IS NOT NULL, false) AS is_recent
              FROM dsar.submission o
             WHERE o.account = planned.account AND o.identity_hash = planned.identity_hash
               AND o.id <> planned.id AND dsar.is_open(o.state)
               AND (SELECT r.action FROM dsar.request r WHERE r.id = o.request)
                   = (SELECT r.action FROM dsar.request r WHERE r.id = planned.request)
            OFFSET 0) AS other
     WHERE CASE WHEN other.state = 'planned'
                THEN (other.due_at, other.id) < (planned.due_at, planned.id)
                     AND NOT other.is_held
                     AND (other.not_before IS NULL OR other.not_before <= moment)
                     AND (request_pks IS NULL OR other.request = ANY(request_pks))
                     AND (SELECT r.hold_reason FROM dsar.request r WHERE r.id = other.request) IS NULL
                WHEN other.state IN ('submitting', 'uncertain', 'submitted')
                THEN one_job_per_subject OR other.is_recent
                ELSE false END
    UNION ALL
    SELECT other.id, NULL, NULL, false
      FROM dsar.submission own,
           LATERAL (SELECT o.id FROM dsar.submission o
                     WHERE o.account = own.account AND o.identity_hash = own.identity_hash
                       AND dsar.is_open(o.state)
                       AND (SELECT r.action FROM dsar.request r WHERE r.id = o.request) = 'access'
                       AND (SELECT r.received_at FROM dsar.request r WHERE r.id = o.request)
                           <= (SELECT r.received_at FROM dsar.request r WHERE r.id = planned.request)
                    OFFSET 0) AS other
     WHERE own.request = planned.request AND own.account = planned.account
       AND planned.due_at > moment + last_days
       AND (SELECT r.action FROM dsar.request r WHERE r.id = planned.request) = 'erasure'
$$;

-- What a submission waits for, which states are open, and how often an attempt was uncertain.

ALTER TABLE dsar.request RENAME COLUMN source_told TO source_updated;
ALTER INDEX dsar.request_untold RENAME TO request_source_outdated;
ALTER INDEX dsar.submission_unsettled RENAME TO submission_uncertain;
ALTER INDEX dsar.submission_person RENAME TO submission_subject;
DROP INDEX dsar.event_submission;             -- submissions are never deleted any more

-- How often the outcome of a call for this submission was uncertain.
ALTER TABLE dsar.submission ADD COLUMN uncertain_count int NOT NULL DEFAULT 0;
UPDATE dsar.submission s SET uncertain_count = e.n
  FROM (SELECT submission, count(*) AS n FROM dsar.event
         WHERE enters = 'uncertain' AND submission IS NOT NULL GROUP BY submission) AS e
 WHERE s.id = e.submission;

-- How many jobs of this submission ended without success and were followed by another one.
ALTER TABLE dsar.submission ADD COLUMN earlier_jobs int NOT NULL DEFAULT 0;

-- The receipts of open requests will show these reasons. Events keep the words that they were written with.
UPDATE dsar.submission s
   SET reason = replace(replace(replace(s.reason,
                    'an earlier call was in doubt', 'the outcome of an earlier call was uncertain'),
                    'the same person', 'the same data subject'), 'this person', 'this data subject')
  FROM dsar.request r
 WHERE r.id = s.request AND r.status = 'in_progress' AND s.reason ~ '(same|this) person|in doubt';

-- The same as State.is_open in model.py; a test compares the two. PostgreSQL puts the body in place of the
-- call, so a query that says dsar.is_open(state) can use the partial index submission_subject.
CREATE FUNCTION dsar.is_open(state text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$SELECT state IN ('planned', 'submitting', 'uncertain', 'submitted', 'ready')$$;

-- The submissions that a planned submission waits for before it is sent; no row: it can be sent.
--
-- 1. Another submission that asks the same of the same account for the same data subject. Only one of them
--    is sent at a time. The planned one waits for the other's job if that job was requested after the
--    planned one was taken in: they can share it (is_shareable), since the job covers all data that was
--    there when the planned one arrived. It also waits if the vendor refuses a second job for one data
--    subject (one_job_per_subject). Of two planned ones, the one that is due first is sent first.
-- 2. An access request that was received before. An erasure waits until the data of that access request is
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
    SELECT other.id, other.job_id, other.submitted_at, other.state = 'submitted' AND other.is_recent
      FROM (SELECT o.*, coalesce(o.attempted_at >= (SELECT r.planned_at FROM dsar.request r
                                                     WHERE r.id = planned.request), false) AS is_recent
              FROM dsar.submission o
             WHERE o.account = planned.account AND o.identity_hash = planned.identity_hash
               AND o.id <> planned.id AND dsar.is_open(o.state)
               AND (SELECT r.action FROM dsar.request r WHERE r.id = o.request)
                   = (SELECT r.action FROM dsar.request r WHERE r.id = planned.request)
            OFFSET 0) AS other
     WHERE CASE WHEN other.state = 'planned'
                THEN (other.due_at, other.id) < (planned.due_at, planned.id)
                     AND (other.not_before IS NULL OR other.not_before <= moment)
                     AND (request_pks IS NULL OR other.request = ANY(request_pks))
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

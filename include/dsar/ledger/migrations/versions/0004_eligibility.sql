-- Which states are open, and how often an attempt was uncertain.

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

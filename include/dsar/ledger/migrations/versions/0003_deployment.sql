-- Remembered settings, the times of reports, and an index of open submissions by data subject.

-- One row per setting that must not be lost or changed unnoticed: see ledger/deployment.py.
CREATE TABLE dsar.deployment (
    name   text PRIMARY KEY,
    value  text NOT NULL                      -- never a secret
);
-- If the last package was sealed, the next one must not be written without encryption.
INSERT INTO dsar.deployment
SELECT 'sealing', 'on'
  FROM (SELECT export_uri FROM dsar.request WHERE closed_at IS NOT NULL AND action = 'access'
         ORDER BY closed_at DESC LIMIT 1) AS last
 WHERE export_uri LIKE '%.age';

-- One row per run with a report. The next report starts at its time.
CREATE TABLE dsar.report (
    run_after    timestamptz PRIMARY KEY,     -- when the run was due to begin
    reported_at  timestamptz NOT NULL
);

-- For requests that were withdrawn before they were sent (until 0.2.0).
CREATE INDEX event_submission ON dsar.event (submission);

-- An erasure waits until the data of an earlier access request of the same data subject is collected.
DROP INDEX dsar.submission_person;
CREATE INDEX submission_person ON dsar.submission (account, identity_hash)
    WHERE state IN ('planned', 'submitting', 'uncertain', 'submitted', 'ready');

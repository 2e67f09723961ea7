-- What this deployment has settled, when its reports looked, and whose open submissions there are.

-- One row a setting that must not be lost, or changed, unnoticed: see ledger/deployment.py.
CREATE TABLE dsar.deployment (
    name   text PRIMARY KEY,
    value  text NOT NULL                      -- never a secret
);
-- Where the last package was sealed, none shall lie there in plain tomorrow.
INSERT INTO dsar.deployment
SELECT 'sealing', 'on'
  FROM (SELECT export_uri FROM dsar.request WHERE closed_at IS NOT NULL AND action = 'access'
         ORDER BY closed_at DESC LIMIT 1) AS last
 WHERE export_uri LIKE '%.age';

-- One row a run whose report has told: the next one begins there.
CREATE TABLE dsar.report (
    run_after    timestamptz PRIMARY KEY,     -- when the run was due to begin
    reported_at  timestamptz NOT NULL
);

-- Else each submission that is taken back, see ledger/withdrawing.py, costs a look at every event.
CREATE INDEX event_submission ON dsar.event (submission);

-- An erasure waits until what the same person has asked to see is collected.
DROP INDEX dsar.submission_person;
CREATE INDEX submission_person ON dsar.submission (account, identity_hash)
    WHERE state IN ('planned', 'submitting', 'uncertain', 'submitted', 'ready');

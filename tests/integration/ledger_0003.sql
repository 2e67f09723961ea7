-- A ledger of version 0.1.0 with data in it: open requests with submissions in every state, closed requests,
-- events, a report, and what the deployment has set.
INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint, planned_at, source_told)
VALUES ('open', 'erasure', 'GDPR', '2026-11-01', '2026-12-01', 'f1', '2026-11-02', true),
       ('ended', 'erasure', 'CCPA', '2026-11-01', '2026-12-16', 'f2', '2026-11-02', false);
INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint, planned_at, status,
                          status_reason, closed_at, export_uri, source_told)
VALUES ('closed', 'access', 'GDPR', '2026-10-01', '2026-11-01', 'f3', '2026-10-02', 'partial', 'batch: failed',
        '2026-10-05', 'file:///requests/closed/package.zip.age', true);

INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state, reason, due_at,
                             attempts, worker, attempted_at, job_id, submitted_at, finished_at, changed_at)
SELECT r.id, s.account, s.account, 'user_id', r.request_id || s.state,
       CASE WHEN r.status = 'in_progress' THEN jsonb_build_object('user_id', s.state) END, s.state, s.reason,
       r.due_at, s.attempts, CASE WHEN s.state = 'submitting' THEN 7 END,
       CASE WHEN s.attempts > 0 THEN r.planned_at END, s.job_id, CASE WHEN s.job_id IS NOT NULL THEN r.planned_at END,
       CASE WHEN s.state IN ('completed', 'no_data', 'not_applicable', 'rejected', 'failed') THEN r.planned_at END,
       r.planned_at
  FROM dsar.request r
  JOIN (VALUES ('open', 'batch', 'planned', NULL, 0, NULL),
               ('open', 'id5', 'submitting', NULL, 1, NULL),
               ('open', 'batch', 'uncertain', 'no reply', 2, NULL),
               ('open', 'batch', 'submitted', 'sent again, since an earlier call was in doubt: no reply', 2, 'job-1'),
               ('open', 'besitos', 'ready', 'shares a job with another open request of the same person', 0, 'job-2'),
               ('open', 'id5', 'no_data', NULL, 1, 'job-3'),
               ('open', 'attentive', 'not_applicable', 'takes no erasure requests', 0, NULL),
               ('ended', 'batch', 'completed', 'shares a job with another open request of the same person', 0, 'job-1'),
               ('ended', 'attentive', 'rejected', 'HTTP 400', 1, NULL),
               ('closed', 'batch', 'failed', 'the vendor could not find this person', 1, 'job-5'),
               ('closed', 'besitos', 'completed', NULL, 1, 'job-6'))
       AS s (request_id, account, state, reason, attempts, job_id) ON s.request_id = r.request_id
 ORDER BY r.id, s.state;

INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt)
SELECT s.changed_at, s.request, s.id, e.leaves, e.enters, e.reason, 1
  FROM dsar.submission s
  JOIN (VALUES ('uncertain', 'submitting', 'uncertain', 'no reply'),
               ('uncertain', 'uncertain', 'planned', 'in doubt, and the vendor''s list does not hold it: sent again'),
               ('uncertain', 'submitting', 'uncertain', 'no reply'),
               ('submitted', 'submitting', 'uncertain', 'no reply'),
               ('failed', 'submitted', 'failed', 'the vendor could not find this person'))
       AS e (state, leaves, enters, reason) ON e.state = s.state;

INSERT INTO dsar.report VALUES ('2026-11-02', '2026-11-02 01:00');
INSERT INTO dsar.deployment VALUES ('sealing', 'on');

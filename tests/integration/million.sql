-- A ledger of two years: %(requests)s requests, four submissions each, 98 in a hundred closed.
-- Neither indexes nor foreign keys are kept up row by row: the former are built at the end, the latter
-- hold all the same.
SET session_replication_role = replica;
UPDATE pg_index SET indisready = false WHERE indrelid IN ('dsar.request'::regclass, 'dsar.submission'::regclass);

INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint, status, planned_at,
                          closed_at, export_uri, source_updated, not_asked, is_unresolved)
SELECT 'r-' || n, CASE WHEN n %% 2 = 0 THEN 'access' ELSE 'erasure' END,
       CASE WHEN n %% 5 = 0 THEN 'CCPA' ELSE 'GDPR' END, at, at + interval '1 month',
       md5(n::text), CASE WHEN open THEN 'in_progress' WHEN n %% 50 = 7 THEN 'partial'
                                WHEN n %% 997 = 0 THEN 'failed' ELSE 'completed' END, at,
       CASE WHEN NOT open THEN at + interval '3 days' END,
       CASE WHEN NOT open THEN 'file:///storage/requests/r-' || n || '/receipt.json' END, true,
       CASE WHEN n %% 100 = 0 THEN '{id5}'::text[] ELSE '{}' END,
       NOT open AND (n %% 50 = 7 OR n %% 997 = 0 OR n %% 500 = 0)
  FROM generate_series(1, %(requests)s) AS n,
       LATERAL (SELECT n > %(requests)s * 0.98 AS open,
                       now() - interval '700 days' + n * interval '700 days' / %(requests)s AS at) AS of_request;

INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state, reason, due_at,
                             attempts, attempted_at, job_id, submitted_at, finished_at, changed_at, worker, uncertain_count,
                             file_path, file_name, file_sha256, file_bytes)
SELECT r.id, a.account, a.account, 'user_id', md5(r.id || a.account) || md5(r.id::text),
       CASE WHEN r.status = 'in_progress' THEN jsonb_build_object('user_id', 'user-' || r.id) END,
       s.state, CASE WHEN s.state = 'failed' THEN 'the job failed' END, r.due_at, (s.state <> 'planned')::int,
       CASE WHEN s.state <> 'planned' THEN r.received_at + interval '1 hour' END,
       CASE WHEN s.state NOT IN ('planned', 'submitting', 'uncertain') THEN md5('job' || r.id || a.account) END,
       CASE WHEN s.state NOT IN ('planned', 'submitting', 'uncertain') THEN r.received_at + interval '1 hour' END,
       CASE WHEN s.state IN ('completed', 'no_data', 'failed', 'rejected') THEN r.received_at + interval '2 days' END,
       r.received_at + interval '2 days', CASE WHEN s.state = 'submitting' THEN 7 END, (s.state = 'uncertain')::int,
       CASE WHEN s.state = 'completed' AND r.action = 'access' THEN 'work/r/' || a.account || '/user_id.json' END,
       CASE WHEN s.state = 'completed' AND r.action = 'access' THEN 'user_id.json' END,
       CASE WHEN s.state = 'completed' AND r.action = 'access' THEN repeat('ab', 32) END,
       CASE WHEN s.state = 'completed' AND r.action = 'access' THEN 20000 END
  FROM dsar.request r,
       (VALUES ('besitos', 1), ('batch', 2), ('id5', 3), ('attentive', 4)) AS a (account, number),
       LATERAL (SELECT CASE
           WHEN r.status = 'failed' OR r.status = 'partial' AND a.number = 2 THEN 'failed'
           WHEN r.status <> 'in_progress' THEN CASE (r.id + a.number) %% 9 WHEN 0 THEN 'no_data' ELSE 'completed' END
           WHEN r.id %% 20 = 0 THEN 'completed'
           ELSE (ARRAY['planned', 'planned', 'submitted', 'submitted', 'submitted', 'ready', 'completed',
                       'submitted', 'planned', 'submitted', 'submitted', 'submitting', 'uncertain'])
                [1 + (r.id * 7 + a.number * 3) %% 13]
       END AS state) AS s;

INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt)
SELECT changed_at, request, id, CASE state WHEN 'failed' THEN 'submitted' ELSE 'submitting' END,
       CASE WHEN state IN ('failed', 'uncertain') THEN state ELSE 'planned' END, reason, 1
  FROM dsar.submission WHERE state IN ('failed', 'uncertain') OR id %% 10 = 0 ORDER BY changed_at;

SET session_replication_role = origin;
REINDEX TABLE dsar.request;
REINDEX TABLE dsar.submission;
-- Acknowledgements and rows of the source that are no requests: of each, most are of the past.
INSERT INTO dsar.acknowledgement (request, given_at, author, reason)
SELECT id, closed_at + interval '1 day', 'jane', 'answered by post'
  FROM dsar.request WHERE status IN ('partial', 'failed') AND id %% 3 = 0;
INSERT INTO dsar.unplanned_row (kind, row_key, request_id, reason, since, due_at, first_seen, last_seen,
                                resolved_at, resolution)
SELECT 'invalid', md5(n::text), 'bad-' || n, 'email is malformed', now(), now() + interval '9 days', now(), now(),
       CASE WHEN n > 100 THEN now() END, CASE WHEN n > 100 THEN 'corrected' END
  FROM generate_series(1, 20000) AS n;
ANALYZE dsar.request, dsar.submission, dsar.acknowledgement, dsar.unplanned_row;
VACUUM ANALYZE dsar.event; -- which writes its index by time

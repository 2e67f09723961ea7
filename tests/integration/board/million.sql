-- %(requests)s requests of the two years before %(now)s, each at four accounts; the last ones are open.
INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint, status, planned_at,
                          closed_at, export_uri, source_told)
SELECT 'dsar-' || lpad(n::text, 8, '0'),
       CASE WHEN n %% 3 = 0 THEN 'access' ELSE 'erasure' END,
       CASE WHEN n %% 5 = 0 THEN 'CCPA' ELSE 'GDPR' END,
       received, received + interval '30 days', md5(n::text),
       CASE WHEN is_open THEN 'in_progress' WHEN n %% 997 = 0 THEN 'failed' WHEN n %% 499 = 0 THEN 'partial'
            ELSE 'completed' END,
       received + interval '6 hours',
       CASE WHEN NOT is_open THEN least(received + interval '1 day' * (1 + (n %% 100) ^ 2 / 400), %(now)s) END,
       CASE WHEN NOT is_open THEN 's3://bucket/requests/dsar-' || n || '/receipt.json' END, true
  FROM (SELECT n, at - CASE WHEN extract(isodow FROM at) > 5 AND n %% 3 > 0 THEN interval '2 days'
                       ELSE '0' END AS received,
               n > %(requests)s * 0.985 OR n > %(requests)s * 0.955 AND n %% 101 = 0 AS is_open
          FROM (SELECT n, %(now)s::timestamptz - interval '730 days' * (%(requests)s - n) / %(requests)s AS at
                  FROM generate_series(1, %(requests)s) AS n) AS arrived) AS given;

INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state, reason, due_at,
                             attempts, attempted_at, job_id, submitted_at, finished_at, changed_at)
SELECT id, account, account, kind, md5(id || account),
       CASE WHEN is_open THEN '{"email": "somebody@example.com"}'::jsonb END,
       state, CASE WHEN state = 'failed' THEN 'the vendor says: error ' || id %% 7 END, due_at,
       CASE WHEN state IN ('planned', 'not_applicable') THEN 0 ELSE 1 END,
       CASE WHEN state NOT IN ('planned', 'not_applicable') THEN planned_at + interval '5 minutes' END,
       CASE WHEN state NOT IN ('planned', 'not_applicable', 'uncertain') THEN account || '-' || id / 10 END,
       CASE WHEN state NOT IN ('planned', 'not_applicable', 'uncertain') THEN planned_at + interval '6 minutes' END,
       CASE WHEN state IN ('completed', 'no_data', 'failed', 'not_applicable') THEN least(planned_at + interval '1 hour' * (1 + id %% 400), %(now)s) END,
       planned_at
  FROM (SELECT r.*, account, kind, status = 'in_progress' AS is_open,
               CASE WHEN action = 'access' AND account IN ('id5', 'attentive') THEN 'not_applicable'
                    WHEN status = 'in_progress' THEN CASE (id + length(account)) %% 20
                        WHEN 0 THEN 'planned' WHEN 1 THEN 'uncertain' WHEN 2 THEN 'ready'
                        WHEN 3 THEN 'submitted' WHEN 4 THEN 'submitted' WHEN 5 THEN 'submitted'
                        ELSE CASE account WHEN 'attentive' THEN 'submitted' ELSE 'completed' END END
                    WHEN status = 'failed' OR status = 'partial' AND account = 'batch' THEN 'failed'
                    WHEN id %% 40 = 0 THEN 'no_data' ELSE 'completed' END AS state
          FROM dsar.request r, (VALUES ('besitos', 'user_id'), ('batch', 'user_id'), ('id5', 'email'),
                                       ('attentive', 'email+phone')) AS a (account, kind)) AS given;

INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt)
SELECT coalesce(finished_at, changed_at), request, id, 'submitted', 'failed', reason, 1
  FROM dsar.submission WHERE state = 'failed' OR state = 'uncertain' ORDER BY 1;

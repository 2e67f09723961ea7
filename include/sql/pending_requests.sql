-- Which requests to take in. Edit this query to fit your own source table, but keep the names of the result
-- columns. Each of email to id5_id, and accounts, can be a list (an array, or a text with a JSON array), or
-- missing. accounts null means all accounts that apply. due_at replaces the legal due date if it is not null.
-- Return one row per request. request_id must be unique, and have only letters, digits and . _ -
--
-- :retry_failed is 1 if an operator asked to try failed requests again, else 0.
-- (A colon before a word is a parameter: write \: for a plain colon.)
-- Times are returned as text, because one time that Python cannot hold (infinity) would fail the whole query.
-- The due date is counted in the zone of received_at, which is the zone of the session. If the law uses another
-- zone, set it for the role of the connection: ALTER ROLE dsar SET TimeZone = 'America/New_York'.
SELECT request_id, request_type, regulation,
       CAST(received_at AS text) AS received_at, CAST(due_at AS text) AS due_at,
       email, phone, user_id, advertising_id, install_id, id5_id, accounts
  FROM public.dsar_requests AS source
 WHERE status = 'pending'
    OR (:retry_failed = 1 AND status IN ('failed', 'partial'))
 ORDER BY source.received_at

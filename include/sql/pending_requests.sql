-- Which requests to take in. Edit this to fit your own source table: the names of the columns that
-- come out are what matters. Any of email .. id5_id may be a list (an array, or a string holding a
-- JSON array) or left out; accounts too, null means all that apply; due_at, where it is not null,
-- wins over the legal due date. One row a request; request_id must be unique and made of letters,
-- digits and . _ - only.
--
-- :retry_failed is 1 when a person asked for failed requests to be tried again, else 0.
-- (A colon before a word is a parameter: write \: for a plain one.)
-- The times come as text: one that Python cannot hold (infinity) would fail the query for everybody.
-- The due date is counted in the zone of received_at, here the session's. Where the law's day is that of
-- another one, give it to the role of the connection: ALTER ROLE dsar SET TimeZone = 'America/New_York'.
SELECT request_id, request_type, regulation,
       CAST(received_at AS text) AS received_at, CAST(due_at AS text) AS due_at,
       email, phone, user_id, advertising_id, install_id, id5_id, accounts
  FROM public.dsar_requests AS source
 WHERE status = 'pending'
    OR (:retry_failed = 1 AND status IN ('failed', 'partial'))
 ORDER BY source.received_at

-- Writes the status of a request to the source: after intake, and when the request is closed.
-- Edit this statement to fit your own source table. It must be safe to run twice.
--
-- :status is in_progress, completed, partial, failed or invalid.
UPDATE public.dsar_requests
   SET status = :status,
       status_reason = :status_reason,
       due_at = coalesce(:due_at, due_at),
       closed_at = :closed_at,
       export_uri = :export_uri
 WHERE request_id = :request_id

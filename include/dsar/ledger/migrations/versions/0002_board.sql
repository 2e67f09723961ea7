-- Indexes for the board.

-- The list of requests by status and due date. Replaces an index of open requests.
CREATE INDEX request_status_due ON dsar.request (status, due_at, id);
DROP INDEX dsar.request_open;
CREATE INDEX request_due ON dsar.request (due_at, id);
CREATE INDEX request_id_begins ON dsar.request (request_id text_pattern_ops);

-- Requests received and closed per day, their durations, and what a run planned.
CREATE INDEX request_received ON dsar.request (received_at);
DROP INDEX dsar.request_closed;
CREATE INDEX request_closed ON dsar.request (closed_at) INCLUDE (received_at, due_at)
    WHERE closed_at IS NOT NULL;
CREATE INDEX request_planned ON dsar.request (planned_at);

-- How long each account took, and what failed.
DROP INDEX dsar.submission_finished;
CREATE INDEX submission_finished ON dsar.submission (finished_at) INCLUDE (account, state, submitted_at)
    WHERE finished_at IS NOT NULL;
CREATE INDEX submission_failed ON dsar.submission (finished_at) WHERE state IN ('failed', 'rejected');

-- What happened in a run. Rows are appended in the order of time, so a BRIN index of a few kilobytes is enough.
CREATE INDEX event_at ON dsar.event USING brin (at) WITH (autosummarize = on);

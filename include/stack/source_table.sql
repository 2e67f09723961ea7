-- The demo's source table. A deployment has its own table; see include/sql/pending_requests.sql.
CREATE TABLE IF NOT EXISTS public.dsar_requests (
    request_id     text PRIMARY KEY,
    request_type   text,
    regulation     text,
    received_at    timestamptz,
    email          text[],
    phone          text[],
    user_id        text[],
    advertising_id text[],
    install_id     text[],
    id5_id         text[],
    accounts       text[],
    status         text NOT NULL DEFAULT 'pending',
    status_reason  text,
    due_at         timestamptz,
    closed_at      timestamptz,
    export_uri     text
);
CREATE INDEX IF NOT EXISTS dsar_requests_status ON public.dsar_requests (status, received_at);

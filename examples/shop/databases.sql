-- Roles, databases and tables of the shop. Runs once, when Postgres starts for the first time.
-- The passwords are those of secrets.yaml; change both outside a demo.

-- The order service's database. The operator adds the schema `outbox` to it.
CREATE ROLE shop_owner LOGIN PASSWORD 'demo-shop-owner';  -- may change the schema
CREATE ROLE shop_relay LOGIN PASSWORD 'demo-shop-relay';  -- reads the outbox
CREATE ROLE shop_app LOGIN PASSWORD 'demo-shop-app';      -- writes orders and events
CREATE DATABASE shop OWNER shop_owner;

-- Each consumer keeps to a database of its own.
CREATE ROLE billing LOGIN PASSWORD 'demo-billing';
CREATE DATABASE billing OWNER billing;
CREATE ROLE mailer LOGIN PASSWORD 'demo-mailer';
CREATE DATABASE mailer OWNER mailer;

-- The archive of all events. The operator makes its tables.
CREATE ROLE archive_keeper LOGIN PASSWORD 'demo-archive-keeper';  -- owns them
CREATE ROLE archive_writer LOGIN PASSWORD 'demo-archive-writer';  -- stores events, and reads none
CREATE ROLE auditor LOGIN PASSWORD 'demo-auditor';                -- reads
CREATE DATABASE archive OWNER archive_keeper;

\connect shop
CREATE TABLE public.orders (
    id uuid PRIMARY KEY,
    customer text NOT NULL,
    amount_cents integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Orders whose transaction was rolled back: no trace of them may show up anywhere else.
CREATE TABLE public.declined (
    order_id uuid PRIMARY KEY,
    declined_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON public.orders, public.declined TO shop_app;

\connect billing
-- No unique key on order_id on purpose: an order billed twice would show.
CREATE TABLE public.invoices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id uuid NOT NULL,
    amount_cents integer NOT NULL,
    billed_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE public.invoices OWNER TO billing;

\connect mailer
CREATE TABLE public.mails (
    event_id text PRIMARY KEY,
    order_id uuid NOT NULL,
    recipient text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE public.mails OWNER TO mailer;

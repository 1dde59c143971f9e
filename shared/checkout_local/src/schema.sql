CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    name TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL CHECK (stock BETWEEN 0 AND 4294967295),
    active INTEGER NOT NULL CHECK (active IN (0, 1))
) STRICT;

CREATE TABLE IF NOT EXISTS reservations (
    key TEXT PRIMARY KEY,
    reservation TEXT,
    held_at INTEGER,
    taken_at INTEGER,
    release TEXT,
    CHECK (reservation IS NOT NULL OR release IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS orders (
    task TEXT PRIMARY KEY,
    value TEXT,
    number TEXT UNIQUE AS (value ->> 'order_number'),
    cancelled_at INTEGER,
    shipped_by TEXT,
    shipped_because TEXT,
    CHECK (value IS NOT NULL OR cancelled_at IS NOT NULL)
) STRICT;

CREATE TABLE IF NOT EXISTS resends (
    task TEXT NOT NULL REFERENCES orders,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    corrected TEXT,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS payment_records (
    key TEXT PRIMARY KEY,
    payment TEXT,
    voided_at INTEGER,
    CHECK (payment IS NOT NULL OR voided_at IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS acknowledged (
    id TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS card_tokens (
    task TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expired_card_tokens ON card_tokens (expires_at);

CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY,
    counted INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expired_counters ON counters (expires_at);

-- The items of the engine's store: JSON text under two keys. The other columns repeat attributes that are searched for: the position
-- in the index, and the expiry in seconds.
CREATE TABLE IF NOT EXISTS items (
    pk TEXT NOT NULL, sk TEXT NOT NULL, item TEXT NOT NULL,
    status_shard TEXT, listed_at TEXT, expires_at INTEGER,
    UNIQUE (pk, sk)
) STRICT;
CREATE INDEX IF NOT EXISTS by_status ON items (status_shard, listed_at, pk, sk) WHERE status_shard IS NOT NULL;
-- The tasks by their ids, in the order of their starts. One file needs no shards, so it has no column for them.
CREATE INDEX IF NOT EXISTS by_start ON items (pk) WHERE sk = 'TASK';
CREATE INDEX IF NOT EXISTS by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;

-- The messages. `queue` is `WORKFLOW/STEP` or `dead_letters`. `due` is when the message is delivered next, `sent_at` when it was sent,
-- both in milliseconds. A delivery that has not ended has a receipt.
-- `deaths` is how many processes in a row have died, and were not told to end, while they held the message. `source` is the queue that gave up on a dead letter.
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, queue TEXT NOT NULL, body TEXT NOT NULL, sent_at INTEGER NOT NULL, due INTEGER NOT NULL,
    receives INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0, receipt TEXT UNIQUE, source TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS by_queue ON messages (queue, due);

-- Messages that belong to no step of any task.
CREATE TABLE IF NOT EXISTS undeliverable (
    id INTEGER PRIMARY KEY, body TEXT NOT NULL, reason TEXT NOT NULL, rejected_at INTEGER NOT NULL
) STRICT;

-- The last process that has opened the file; no row once it was told to end. Its number is part of its receipts, and is used once, so
-- that no two deliveries have the same.
CREATE TABLE IF NOT EXISTS processes (id INTEGER PRIMARY KEY AUTOINCREMENT, started_at INTEGER NOT NULL) STRICT;

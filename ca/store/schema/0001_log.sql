-- Three logs. Each is append-only with a dense sequence from 1; head is set in the
-- last row that a transaction adds and covers everything before it (package
-- journal, type Link). body is as package journal encodes it.

CREATE TABLE records (
  seq  {{key}},
  body {{bytes}} NOT NULL,
  head {{bytes}}
){{strict}};

CREATE TABLE events (
  seq  {{key}},
  body TEXT NOT NULL,
  head {{bytes}}
){{strict}};

CREATE TABLE voids (
  seq        {{key}},
  record_seq {{integer}} NOT NULL UNIQUE,
  reason     TEXT NOT NULL,
  head       {{bytes}}
){{strict}};

-- What a search has to know of a run of records (package journal, type Segment).
-- Times are microseconds since 1970.
CREATE TABLE segments (
  first_seq     {{key}},
  last_seq      {{integer}} NOT NULL,
  issued_min    {{integer}} NOT NULL,
  issued_max    {{integer}} NOT NULL,
  not_after_max {{integer}} NOT NULL,
  filter        {{bytes}} NOT NULL
){{strict}};

-- The authority's state: one row, replaced by compare-and-swap of its version.
CREATE TABLE state (
  id      {{key}} CHECK (id = 1),
  version {{integer}} NOT NULL,
  body    TEXT NOT NULL
){{strict}};

-- One-time tokens of machines, by SHA-256. A spent token keeps its row until
-- some time after it would have expired.
CREATE TABLE join_tokens (
  hash       {{bytes}} PRIMARY KEY,
  identity   TEXT NOT NULL,
  expires_at {{integer}} NOT NULL,
  created_by TEXT NOT NULL,
  used_at    {{integer}}
){{strict}};

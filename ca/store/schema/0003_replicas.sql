-- Every replica has a state of its own. The only replica of a store that lives in
-- one process has the empty name.
CREATE TABLE replica_states (
  replica {{text}} PRIMARY KEY,
  version {{integer}} NOT NULL,
  body    TEXT NOT NULL
){{strict}};

INSERT INTO replica_states (replica, version, body) SELECT '', version, body FROM state;

DROP TABLE state;

-- The store itself: its random name, how often it was opened for writing, and where
-- its content has gone since, after which nobody may write to it. One row.
CREATE TABLE store (
  id         {{key}} CHECK (id = 1),
  name       TEXT NOT NULL,
  generation {{integer}} NOT NULL,
  moved_to   TEXT
){{strict}};

-- Small documents, each replaced by compare-and-swap of its version. A deleted one
-- keeps its row without a body, so that no version recurs: some hundred bytes for
-- every name that there ever was. Names are in the order of their bytes.
CREATE TABLE documents (
  kind    {{text}} NOT NULL,
  name    {{text}} NOT NULL,
  version {{integer}} NOT NULL,
  body    {{bytes}},
  PRIMARY KEY (kind, name)
){{strict}};

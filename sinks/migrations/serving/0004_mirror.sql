-- What the mirror of captured tables knows: one document that is replaced whole. Run inside the pipeline's schema.

CREATE TABLE mirror (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  document text -- JSON; NULL before the first
) WITH (fillfactor = 50);
INSERT INTO mirror (document) VALUES (NULL);

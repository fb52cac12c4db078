-- What the pipeline's publisher has been asked to do and how far each step is, and which facts it has taken.

CREATE TABLE publisher_positions (
  topic     text   COLLATE "C" NOT NULL,
  partition bigint NOT NULL,
  next      bigint NOT NULL, -- facts before it are taken
  PRIMARY KEY (topic, partition)
);
CREATE TABLE publisher_steps (
  number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order in which they were asked for
  step          text   COLLATE "C" NOT NULL,
  round         bigint NOT NULL,
  request       text   NOT NULL, -- the fact, JSON
  state         text   COLLATE "C" NOT NULL,
  attempts      bigint NOT NULL,
  first_call_ms bigint NOT NULL,
  outcome       text,            -- the command, JSON
  UNIQUE (step, round)
);

-- What boxes may hold, and which seats a trip has. No job decides by them yet; they are captured as every other
-- reference table is, for whoever mirrors them.

CREATE TABLE box_prizes (
  tenant     tombola_id NOT NULL,
  offer_id   tombola_id NOT NULL, -- the box, an offer of the kind 'box'
  item_id    tombola_id NOT NULL,
  weight     bigint NOT NULL CHECK (weight >= 0), -- odds are weight over the sum of the weights that are left
  stock      bigint NOT NULL CHECK (stock >= 0),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, offer_id, item_id)
);

CREATE TABLE trips (
  tenant        tombola_id NOT NULL,
  trip_id       tombola_id NOT NULL,
  stops         text NOT NULL -- names of its stops in their order, as a JSON array; a segment lies between two of them
                CHECK (jsonb_typeof(stops::jsonb) = 'array' AND jsonb_array_length(stops::jsonb) >= 2),
  departs_at_ms tombola_time_ms NOT NULL,
  status        text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, trip_id)
);

CREATE TABLE trip_seats (
  tenant     tombola_id NOT NULL,
  trip_id    tombola_id NOT NULL,
  seat_id    tombola_id NOT NULL,
  offer_id   tombola_id, -- what it is sold as, an offer of the kind 'seat'; NULL: not for sale
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, trip_id, seat_id)
);

DO $$
DECLARE followed text;
BEGIN
  FOREACH followed IN ARRAY ARRAY['box_prizes', 'trips', 'trip_seats'] LOOP
    EXECUTE format('ALTER TABLE %I REPLICA IDENTITY FULL', followed);
    EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION tombola_touch()', followed);
    IF NOT EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'tombola_reference' AND tablename = followed) THEN
      EXECUTE format('ALTER PUBLICATION tombola_reference ADD TABLE %I', followed);
    END IF;
  END LOOP;
END $$;

-- The role Debezium captures by. Run by an administrator inside the schema of the reference tables, as often as
-- one likes. Its password (ALTER ROLE tombola_capture LOGIN PASSWORD ...) is the administrator's to say. It may
-- not alter publications, which are there already: set publication.autocreate.mode=disabled.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tombola_capture') THEN
    CREATE ROLE tombola_capture NOLOGIN REPLICATION;
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO tombola_capture', current_schema());
END $$;

GRANT SELECT ON offers, partners, customers, commission_rates, commission_periods, velocity_rules, draws, channels, box_prizes, trips, trip_seats, outbox,
  debezium_heartbeat TO tombola_capture;
GRANT INSERT, UPDATE ON debezium_heartbeat TO tombola_capture;

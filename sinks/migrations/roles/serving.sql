-- Least rights on a pipeline's schema. Run by an administrator inside the schema, as often as one likes:
-- who may log in as (or is granted) these roles, and with what password, is the administrator's to say.
--   tombola_pipeline  appends bindings, moves frontiers, writes rows. It can't rewrite a binding, delete a row
--                     or change a table.
--   tombola_reader    reads serving tables and views.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tombola_pipeline') THEN
    CREATE ROLE tombola_pipeline NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tombola_reader') THEN
    CREATE ROLE tombola_reader NOLOGIN;
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO tombola_pipeline, tombola_reader', current_schema());
  -- What an earlier version granted and this one doesn't is taken back.
  EXECUTE format(
    'REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM tombola_pipeline, tombola_reader, PUBLIC', current_schema());
END $$;

GRANT SELECT, INSERT ON generations, bindings, epoch_digests TO tombola_pipeline;
GRANT SELECT, UPDATE ON frontiers TO tombola_pipeline;
GRANT SELECT, INSERT, UPDATE ON orders, stock, tickets, dead_letters, commission_statements, fraud_alerts, draws, winning_tickets, publications TO tombola_pipeline;
GRANT SELECT, INSERT, UPDATE ON loader_positions, loader_batch TO tombola_pipeline;
GRANT SELECT ON loader, progress, runs, tombola_migrations TO tombola_pipeline;

GRANT SELECT ON orders, stock, tickets, dead_letters, commission_statements, fraud_alerts, draws, winning_tickets, publications TO tombola_reader;
GRANT SELECT ON progress, runs, tombola_migrations TO tombola_reader;

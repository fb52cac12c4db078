-- What the connectors need besides the tables they watch. May be run again at any time.

-- Each connector writes here every ten seconds: in a quiet database its slot would else hold back the log that
-- other tables and databases fill, until the disk is full.
CREATE TABLE IF NOT EXISTS public.debezium_heartbeat (
    connector text PRIMARY KEY,
    beaten_at timestamptz NOT NULL
);

-- An application writes its commands here, in the transaction that is their reason, and may delete them in the same
-- one: the insert is in the log, and that is what counts.
CREATE TABLE IF NOT EXISTS public.outbox (
    id uuid PRIMARY KEY,
    aggregatetype text NOT NULL,    -- which topic: 'orders' goes to commands.orders
    aggregateid text NOT NULL,      -- the record's key
    type text NOT NULL,             -- the command's name, for people
    payload bytea NOT NULL          -- the record's value: Avro in the Confluent wire format
);

-- Without this a delete or a change of key tells only the key; with it, the whole row as it was.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['offers', 'partners', 'customers', 'commission_rates', 'commission_periods', 'velocity_rules',
                                'draws', 'channels', 'box_prizes', 'trips', 'trip_seats'] LOOP
        IF to_regclass('public.' || name) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE public.%I REPLICA IDENTITY FULL', name);
        END IF;
    END LOOP;
END $$;

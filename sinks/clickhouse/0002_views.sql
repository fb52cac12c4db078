-- What analysts read: facts up to the published frontier.
--
-- The frontier is a scalar subquery that is the same text in every view: a query evaluates it once, however many
-- views it names. It has to come before the look at the facts, or epochs that were published in between would be
-- there in one table and not in another. A table named beside a subquery is looked at first, a view named beside it
-- afterwards: that is what the views all_... are for. They hold unpublished rows too; don't query them.

CREATE OR REPLACE VIEW published @on_cluster@ AS
SELECT topic, max(epoch) AS epoch FROM frontiers GROUP BY topic;

CREATE OR REPLACE VIEW all_orders @on_cluster@ AS SELECT * FROM facts_orders;
CREATE OR REPLACE VIEW orders @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_orders
WHERE epoch <= @frontier@['facts.orders'];

CREATE OR REPLACE VIEW all_stock @on_cluster@ AS SELECT * FROM facts_stock;
CREATE OR REPLACE VIEW stock @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_stock
WHERE epoch <= @frontier@['facts.stock'];

CREATE OR REPLACE VIEW all_tickets @on_cluster@ AS SELECT * FROM facts_tickets;
CREATE OR REPLACE VIEW tickets @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_tickets
WHERE epoch <= @frontier@['facts.tickets'];

CREATE OR REPLACE VIEW all_fraud @on_cluster@ AS SELECT * FROM facts_fraud;
CREATE OR REPLACE VIEW fraud @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_fraud
WHERE epoch <= @frontier@['facts.fraud'];

CREATE OR REPLACE VIEW all_screening @on_cluster@ AS SELECT * FROM facts_screening;
CREATE OR REPLACE VIEW screening @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_screening
WHERE epoch <= @frontier@['facts.screening'];

CREATE OR REPLACE VIEW all_commissions @on_cluster@ AS SELECT * FROM facts_commissions;
CREATE OR REPLACE VIEW commissions @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_commissions
WHERE epoch <= @frontier@['facts.commissions'];

CREATE OR REPLACE VIEW all_dead_letters @on_cluster@ AS SELECT * FROM facts_dead_letters;
CREATE OR REPLACE VIEW dead_letters @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_dead_letters
WHERE epoch <= @frontier@['dead-letters'];

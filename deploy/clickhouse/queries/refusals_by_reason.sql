-- Refused orders by reason, most frequent first. An order with two reasons counts under both.
SELECT reason, sum(refusals) AS refusals
FROM refusals_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
GROUP BY reason
ORDER BY refusals DESC, reason

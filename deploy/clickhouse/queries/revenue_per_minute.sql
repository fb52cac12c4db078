-- Confirmed sales less refunds, per minute and currency, in minor units.
SELECT minute, currency, sum(confirmed) AS confirmed, sum(refunded) AS refunded, sum(revenue_minor) AS revenue_minor
FROM revenue_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
GROUP BY minute, currency
ORDER BY minute, currency

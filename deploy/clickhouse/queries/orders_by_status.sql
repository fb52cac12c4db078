-- What happened to orders, per minute.
SELECT minute, event, sum(orders) AS orders, sum(quantity) AS quantity
FROM orders_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
GROUP BY minute, event
ORDER BY minute, event

-- Of the orders that came to an end or were confirmed in a minute, how many were confirmed, in basis points.
SELECT minute,
  sumIf(orders, event = 'confirmed') AS confirmed,
  sumIf(orders, event IN ('refused', 'cancelled', 'expired')) AS failed,
  intDiv(confirmed * 10000, confirmed + failed) AS success_bps
FROM orders_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
  AND event IN ('confirmed', 'refused', 'cancelled', 'expired')
GROUP BY minute
ORDER BY minute

-- What was left of each offer at the end of each minute that moved it.
SELECT minute, offer_id, available, held, sold, stock_total
FROM stock_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
ORDER BY minute, offer_id

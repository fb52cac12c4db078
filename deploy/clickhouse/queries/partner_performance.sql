-- Sales of each partner, by currency, and the share that was refunded, in basis points.
SELECT partner_id, currency,
  sumIf(orders, event = 'confirmed') AS confirmed,
  sumIf(amount_minor, event = 'confirmed') - sumIf(amount_minor, event = 'refunded') AS revenue_minor,
  if(confirmed = 0, 0, intDiv(sumIf(orders, event = 'refunded') * 10000, confirmed)) AS refunded_bps
FROM orders_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
  AND partner_id != ''
GROUP BY partner_id, currency
ORDER BY revenue_minor DESC, partner_id, currency

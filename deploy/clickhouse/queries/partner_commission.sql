-- Statements of the months from one to another, `YYYY-MM`: base, commission and adjustments, in minor units.
SELECT partner_id, month, currency, offer_kind, base_minor, commission_minor, adjustment_minor
FROM commission_statements
WHERE tenant = {tenant:String}
  AND month >= formatDateTime({from:DateTime('UTC')}, '%Y-%m') AND month <= formatDateTime({to:DateTime('UTC')}, '%Y-%m')
ORDER BY partner_id, month, currency, offer_kind

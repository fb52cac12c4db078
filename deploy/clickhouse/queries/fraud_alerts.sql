-- Velocity rules that fired, per rule and action, and when they last did.
SELECT rule_id, action, sum(alerts) AS alerts, max(minute) AS last_minute
FROM fraud_alerts_per_minute
WHERE tenant = {tenant:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
  AND event = 'rule_fired'
GROUP BY rule_id, action
ORDER BY alerts DESC, rule_id, action

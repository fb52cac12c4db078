-- Records nothing could be done with, newest first.
SELECT recorded_at, id, reason, length(payload) AS payload_bytes
FROM dead_letters
WHERE recorded_at >= {from:DateTime('UTC')} AND recorded_at < {to:DateTime('UTC')}
ORDER BY recorded_at DESC, id
LIMIT 100

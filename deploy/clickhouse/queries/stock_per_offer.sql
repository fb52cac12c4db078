-- What is left of each offer, least first.
SELECT offer_id, available, held, sold, stock_total, shrink_due
FROM stock_per_offer
WHERE tenant = {tenant:String}
ORDER BY available, offer_id

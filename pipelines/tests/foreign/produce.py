"""produce.py TOPIC FILE: commands, one JSON object a line, into Kafka by a shop that wrote its own schemas.

They are compatible with Tombola's contracts and not the same: other order, narrower numbers, a field more,
optional ones left out. Records carry the time they speak of.
"""

import json
import os
import sys

import confluent_kafka
import fastavro
from wire import encode, register


def schema(name, *fields):
    typed = [{"name": f, "type": t, **({"default": None} if isinstance(t, list) else {})} for f, t in fields]
    return {"type": "record", "name": name, "namespace": "tombola.commands", "doc": "By the shop.", "fields": typed}


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
SCHEMAS = {
    "place_order": schema(
        "PlaceOrder", ("placed_at_ms", MILLIS), ("order_id", "string"), ("command_id", "string"), ("tenant", "string"),
        ("channel", "string"), ("customer_id", "string"), ("offer_id", "string"), ("price_minor", "int"),
        ("currency", "string"), ("quantity", "int"), ("partner_id", "string"),
    ),
    "cancel_order": schema(
        "CancelOrder", ("requested_at_ms", MILLIS), ("order_id", "string"), ("command_id", "string"),
        ("tenant", "string"), ("reason", ["null", "string"]), ("channel", "string"),
    ),
    "payment_captured": schema(
        "PaymentCaptured", ("order_id", "string"), ("tenant", "string"), ("command_id", "string"),
        ("payment_id", "string"), ("currency", "string"), ("amount_minor", "int"), ("captured_at_ms", "long"),
    ),
}
TIMES = {"place_order": "placed_at_ms", "cancel_order": "requested_at_ms", "payment_captured": "captured_at_ms"}


def main(topic, path):
    errors, kinds = [], {}
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"], "enable.idempotence": True, "linger.ms": 20}
    )
    delivered = lambda error, _: errors.append(str(error)) if error else None
    with open(path) as lines:
        for line in lines:
            command = json.loads(line)
            kind = command.pop("type")
            if kind not in kinds:
                kinds[kind] = (register(topic, SCHEMAS[kind]), fastavro.parse_schema(SCHEMAS[kind]))
            time_ms = command[TIMES[kind]]
            value = encode(*kinds[kind], {**command, "channel": "web"})
            while True:
                try:
                    producer.produce(topic, value, command["order_id"], timestamp=time_ms, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
    left = producer.flush(60)
    if errors or left:
        sys.exit(f"{len(errors)} not delivered, {left} still on their way: {errors[:3]}")


main(*sys.argv[1:])

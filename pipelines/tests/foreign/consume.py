"""consume.py TOPIC...: all that is committed in these topics, one JSON object a line.

By librdkafka with isolation.level=read_committed: what it reads is what any consumer of committed records gets.
"""

import json
import os
import sys

from wire import Decoder
from confluent_kafka import Consumer, TopicPartition

SETTINGS = {
    "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"],
    "group.id": "tombola-tests",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}


def plain(value):
    """What JSON can say: times as milliseconds, bytes as hexadecimal digits."""
    if hasattr(value, "timestamp"):
        return round(value.timestamp() * 1000)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else value


def main(topics):
    consumer, decoder = Consumer(SETTINGS), Decoder()
    known = consumer.list_topics(timeout=30).topics
    open_ends = [TopicPartition(t, p, 0) for t in topics for p in known[t].partitions]
    consumer.assign(open_ends)
    left = len(open_ends)
    while left:
        for message in consumer.consume(10_000, 1):
            error = message.error()
            if error and error.name() == "_PARTITION_EOF":
                left -= 1
                continue
            if error:
                sys.exit(str(error))
            found = decoder.decode(message.value() or b"")
            name, record = found if found else (None, None)
            epoch = dict(message.headers() or []).get("epoch")
            place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
            place.update(epoch=epoch and int(epoch), name=name, record=plain(record))
            print(json.dumps(place))


main(sys.argv[1:])

"""again.py TOPIC: everything in a topic once more at its end, in the same order, as after a restart of its connector."""

import os
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

SERVERS = os.environ["KAFKA_BOOTSTRAP"]
consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": "again", "enable.auto.commit": False})
producer = Producer({"bootstrap.servers": SERVERS, "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000})
topic = sys.argv[1]
for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
    consumer.assign([TopicPartition(topic, partition, 0)])
    read = 0
    while read < end:
        for message in consumer.consume(10_000, 1):
            if message.error():
                sys.exit(str(message.error()))
            if message.offset() < end:
                producer.produce(topic, message.value(), message.key(), partition)
            read = message.offset() + 1
    if producer.flush(60):
        sys.exit("not all of it was delivered")

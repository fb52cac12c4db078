"""empty.py [NAME...]: deletes every topic a test may have made, or those whose names begin so, and waits until they are gone."""

import os
import sys
import time

from confluent_kafka.admin import AdminClient

ALL = ("commands.", "facts.", "oltp.", "outbox.", "dead-letters", "tombola", "__debezium")
OURS = tuple(sys.argv[1:]) or ALL

admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})


def ours():
    return [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(OURS)]


for topic, done in admin.delete_topics(ours(), operation_timeout=30).items() if ours() else ():
    done.result()
end = time.time() + 30
while ours():
    if time.time() > end:
        sys.exit(f"still there: {ours()}")
    time.sleep(0.1)

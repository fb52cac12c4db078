"""Avro in the Confluent wire format, by fastavro and the registry's HTTP interface; nothing of it is ours."""

import io
import json
import os
import struct
import urllib.request

import fastavro

REGISTRY = os.environ["REGISTRY_URL"].rstrip("/")


def ask(path, body=None):
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(REGISTRY + path, data, headers), timeout=30) as answer:
        return json.load(answer)


def register(topic, schema):
    """The id of a schema, under the subject that TopicRecordNameStrategy gives it."""
    subject = f"{topic}-{schema['namespace']}.{schema['name']}"
    return ask(f"/subjects/{subject}/versions", {"schema": json.dumps(schema)})["id"]


def encode(id, parsed, record):
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, id))
    fastavro.schemaless_writer(out, parsed, record)
    return out.getvalue()


class Decoder:
    def __init__(self):
        self.parsed = {}

    def decode(self, value):
        """The record's full name and its fields; nothing of bytes that are no Avro."""
        if len(value) < 5 or value[0] != 0:
            return None
        (id,) = struct.unpack(">I", value[1:5])
        if id not in self.parsed:
            schema = json.loads(ask(f"/schemas/ids/{id}")["schema"])
            self.parsed[id] = (f"{schema['namespace']}.{schema['name']}", fastavro.parse_schema(schema))
        name, parsed = self.parsed[id]
        return name, fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed)

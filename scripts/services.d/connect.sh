# Kafka Connect with Debezium's Postgres connector and an Avro converter. Sourced by scripts/services.

connect_install() { need_java; install_jars kafka; install_jars debezium; install_jars avro-converter; }

# Short timeouts, so that a worker that was killed is replaced within seconds; without the rebalance delay its tasks
# would rest for five minutes. JSON without schemas is what a connector gets that names no converter.
connect_settings() {
  mkdir -p "$state/data/connect-plugins"
  ln -sfn "$downloads/debezium" "$state/data/connect-plugins/debezium"
  ln -sfn "$downloads/avro-converter" "$state/data/connect-plugins/avro-converter"
  cat <<SETTINGS
bootstrap.servers=127.0.0.1:$kafka_port
group.id=connect
listeners=http://127.0.0.1:$connect_port
rest.advertised.host.name=127.0.0.1
plugin.path=$state/data/connect-plugins
plugin.discovery=hybrid_warn
config.storage.topic=connect-configs
config.storage.replication.factor=1
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.topic=connect-status
status.storage.replication.factor=1
status.storage.partitions=1
offset.flush.interval.ms=1000
session.timeout.ms=6000
heartbeat.interval.ms=2000
rebalance.timeout.ms=10000
scheduled.rebalance.max.delay.ms=0
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
topic.creation.enable=true
SETTINGS
}

connect_start() {
  connect_settings > "$state/run/connect.properties"
  # A worker that finds no broker gives up, so it starts once there is one.
  wait_until 300 kafka_ready || die "Connect needs Kafka, which does not answer on port $kafka_port"
  launch connect java -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -cp "$downloads/kafka/*" \
    -Dlog4j2.configurationFile="$parts/kafka/log4j2.properties" org.apache.kafka.connect.cli.ConnectDistributed "$state/run/connect.properties"
}

# The list of connectors is answered only by a worker that has joined its group and read its configuration.
connect_ready() { get "http://127.0.0.1:$connect_port/connectors"; }

connect_endpoints() { echo "CONNECT_URL=http://127.0.0.1:$connect_port"; }

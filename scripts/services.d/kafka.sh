# Apache Kafka: one node, broker and controller in one process. Sourced by scripts/services.

kafka_install() { need_java; need kcat kcat; install_jars kafka; }

# Few partitions for the internal topics, as each is a folder and a file handle at start; replication 1, as there is
# one broker. Session timeouts may be short, so that a killed consumer's successor need not wait long.
kafka_settings() {
  cat <<SETTINGS
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$kafka_controller_port
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$kafka_port,SASL_SSL://127.0.0.1:$kafka_tls_port,CONTROLLER://127.0.0.1:$kafka_controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port,SASL_SSL://localhost:$kafka_tls_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location=$state/tls/kafka.pem
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs=$state/data/kafka
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
SETTINGS
}

kafka_java() {
  local heap="$1"
  shift
  java "-Xmx$heap" -XX:+UseSerialGC -cp "$downloads/kafka/*" -Dlog4j2.configurationFile="$parts/kafka/log4j2.properties" "$@"
}

# Idempotent: storage that is formatted stays as it is.
kafka_start() {
  tls_make
  kafka_settings > "$state/run/kafka.properties"
  if [ ! -e "$state/data/kafka/meta.properties" ]; then
    kafka_java 64m -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format --standalone -t "$(kafka_cluster_id)" -c "$state/run/kafka.properties" \
      --add-scram "SCRAM-SHA-512=[name=$service_user,password=$service_password]" \
      >> "$state/log/kafka" 2>&1 || { tail -n 5 "$state/log/kafka" >&2; die "formatting Kafka's storage failed"; }
  fi
  launch kafka java -Xms256m -Xmx512m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -cp "$downloads/kafka/*" \
    -Dlog4j2.configurationFile="$parts/kafka/log4j2.properties" kafka.Kafka "$state/run/kafka.properties"
}

# 16 random bytes in URL-safe base64, which may not begin with a dash.
kafka_cluster_id() { printf 'A%s' "$(head -c 16 /dev/urandom | base64 | tr '+/' '__' | tr -d '=' | cut -c2-21)A"; }

# Metadata, and a broker that is no longer fenced: the listener opens before that.
kafka_ready() { kcat -b "127.0.0.1:$kafka_port" -L -m 3 | grep -q 'broker 1 at'; }

kafka_endpoints() { echo "KAFKA_BOOTSTRAP=127.0.0.1:$kafka_port"; }

# Kafka's scripts are thin wrappers around these classes.
kafka_class() {
  case "$1" in
    topics) echo org.apache.kafka.tools.TopicCommand ;;
    configs) echo kafka.admin.ConfigCommand ;;
    console-producer) echo org.apache.kafka.tools.ConsoleProducer ;;
    console-consumer) echo org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    consumer-groups) echo org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    get-offsets) echo org.apache.kafka.tools.GetOffsetShell ;;
    transactions) echo org.apache.kafka.tools.TransactionsCommand ;;
    dump-log) echo org.apache.kafka.tools.DumpLogSegments ;;
    producer-perf-test) echo org.apache.kafka.tools.ProducerPerformance ;;
    *.*) echo "$1" ;;
    *) say "there is no Kafka tool '$1' here; name one of topics, configs, console-producer, console-consumer, consumer-groups, get-offsets, transactions, dump-log, producer-perf-test, or a class"; exit 2 ;;
  esac
}

# Adds --bootstrap-server where the tool takes one and none is given.
kafka_command() {
  local tool="$1" class
  class="$(kafka_class "$tool")"
  shift
  case "$tool $*" in
    dump-log* | *--bootstrap-server* | *.*\ * | producer-perf-test*) ;;
    *) set -- --bootstrap-server "127.0.0.1:$kafka_port" "$@" ;;
  esac
  kafka_java 256m -XX:TieredStopAtLevel=1 -Dtombola.level=WARN "$class" "$@"
}

kafka_tool() {
  kafka_install
  kafka_command "$@"
}

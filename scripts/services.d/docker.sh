# The same services as containers of docker-compose.yml, at the same ports. Sourced by scripts/services.

connect_postgres_host=postgres
connect_postgres_port=5432
connect_registry_url=http://registry:8080

compose() {
  COMPOSE_PROJECT_NAME="tombola-$port_base" \
    TOMBOLA_KAFKA_PORT="$kafka_port" TOMBOLA_REGISTRY_PORT="$registry_port" TOMBOLA_CONNECT_PORT="$connect_port" \
    TOMBOLA_POSTGRES_PORT="$postgres_port" TOMBOLA_CLICKHOUSE_PORT="$clickhouse_port" TOMBOLA_S3_PORT="$s3_port" \
    TOMBOLA_USER="$service_user" TOMBOLA_PASSWORD="$service_password" TOMBOLA_DATABASE="$service_database" \
    docker compose -f "$root/docker-compose.yml" --profile services "$@"
}

# A health check of each decides when it is up.
up() {
  local began=$SECONDS
  [ -z "${TOMBOLA_POSTGRES_STANDBY_OF:-}" ] || die "TOMBOLA_POSTGRES_STANDBY_OF needs TOMBOLA_SERVICES_MODE=native"
  [ -z "${TOMBOLA_POSTGRES_CLOCK:-}" ] || die "TOMBOLA_POSTGRES_CLOCK needs TOMBOLA_SERVICES_MODE=native"
  make_state
  compose up -d --wait "$@" || { compose ps >&2; die "not all came up; scripts/services logs SERVICE"; }
  write_endpoints "$@"
  show_endpoints
  say "up after $((SECONDS - began)) s: $*"
}

fetch() { compose pull --quiet "$@" || die "docker compose pull failed"; }

down() {
  if [ "$1" = remove ]; then
    compose down --volumes || die "docker compose down failed"
    [ ! -d "$state/run" ] || rm -rf "$state"
  else
    compose stop || die "docker compose stop failed"
  fi
  say "down"
}

container_state() { compose ps -a --format '{{.State}} {{.Health}}' "$1" 2>/dev/null; }

status() {
  local service word port_name bad=0 any=0
  printf '%-11s %-18s %6s\n' service state port
  for service in $all_services; do
    port_name="${service}_port"
    word="$(container_state "$service")"
    [ -z "$word" ] || any=1
    printf '%-11s %-18s %6s\n' "$service" "${word:-not up}" "${!port_name}"
    case "$service $word" in
      *'running healthy') ;;
      *' '[a-z]*) bad=1 ;;
      *) [ ! -e "$state/run/$service" ] || bad=1 ;; # nobody asked for the others
    esac
  done
  [ "$bad" = 0 ] && [ "$any" = 1 ] || exit 1
}

logs() { if [ "$1" = all ]; then compose logs; else compose logs --no-log-prefix "$1"; fi; }

kill_service() { compose kill -s KILL "$1" || die "$1 does not run"; }
stop_service() { compose pause "$1" || die "$1 does not run"; }
cont_service() { compose unpause "$1" || die "$1 is not stopped"; }

start_service() {
  compose up -d --wait --no-deps "$1" || die "$1 does not come up; scripts/services logs $1"
  write_endpoints "$1"
}

# What is up already stays in the file.
write_endpoints() {
  local service
  for service in "$@"; do touch "$state/run/$service"; done
  endpoints_file
}

kafka_tool() {
  local tool="$1"
  shift
  case "$tool" in
    dump-log) compose exec -T kafka /opt/kafka/bin/kafka-dump-log.sh "$@" ;;
    producer-perf-test) compose exec -T kafka "/opt/kafka/bin/kafka-$tool.sh" "$@" ;;
    *.*) compose exec -T kafka /opt/kafka/bin/kafka-run-class.sh "$tool" "$@" ;;
    *) compose exec -T kafka "/opt/kafka/bin/kafka-$tool.sh" --bootstrap-server kafka:19092 "$@" ;;
  esac
}

# Apicurio Registry, for its Confluent-compatible API. Sourced by scripts/services.

registry_install() { need_java; install_jars registry fetch_registry; }

fetch_registry() {
  mvn -B -C -f "$java_pom" -P registry dependency:unpack -DoutputDirectory="$1" -Dunpacked.markers="$1/.unpacked"
  ls "$1/"apicurio-registry-app-*-runner.jar
}

# Schemas are kept in a file, so that their ids survive a kill.
registry_start() {
  mkdir -p "$state/data/registry"
  launch registry java -Xmx192m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
    -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$registry_port" \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
    -Dapicurio.datasource.url="jdbc:h2:file:$state/data/registry/schemas" \
    -jar "$downloads/registry/"apicurio-registry-app-*-runner.jar
}

registry_ready() { get "http://127.0.0.1:$registry_port/apis/ccompat/v7/subjects"; }

registry_endpoints() {
  echo "REGISTRY_URL=http://127.0.0.1:$registry_port/apis/ccompat/v7"
  echo "CONNECT_REGISTRY_URL=$connect_registry_url"
}
